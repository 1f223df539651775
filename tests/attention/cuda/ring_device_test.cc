// Ring attention of the cuda backend on the device of this program, against one rank in double precision on the same inputs.
// Ranks are threads, which reach each other through the host.
#include <gtest/gtest.h>

#include "tests/attention/sequence_case.h"
#include "tests/support/device_under_test.h"

namespace longspan::test {
namespace {

SequenceResult on_devices(const SequenceCase& c, int num_ranks, DType dtype, uint64_t seed) {
  return attend(c, num_ranks, seed,
                {.arithmetic = {.dtype = dtype, .drawn = dtype},
                 .decorate = [](Communicator& threads) { return make_staging_communicator(threads); },
                 .make_context = [dtype] { return device_context(dtype); }});
}

class DeviceRingAttention : public testing::TestWithParam<DType> {};

void expect_reference(const SequenceCase& problem, int num_ranks, DType dtype, uint64_t seed) {
  const double tolerance = dtype == DType::kFloat32 ? 3e-6 : 5e-3;  // as on the CPU (ring_attention_test.cc)
  SCOPED_TRACE(fmt::format("{} ranks, {}, {}", num_ranks, problem.to_string(), name(dtype)));
  const SequenceResult want = attend(problem, 1, seed, {.arithmetic = {.drawn = dtype}});
  EXPECT_EQ(difference(on_devices(problem, num_ranks, dtype, seed), want, tolerance), "");
}

TEST_P(DeviceRingAttention, EqualsOneRankInDoublePrecision) {
  uint64_t seed = 20;
  for (const auto& [layout, num_ranks] : {std::pair{LayoutType::kContiguous, 2}, std::pair{LayoutType::kZigzag, 4},
                                          std::pair{LayoutType::kStriped, 3}}) {
    expect_reference({layout, Masking::kCausal, 131, 1, 5, 2, 1, 64}, num_ranks, GetParam(), ++seed);
    expect_reference({layout, Masking::kFull, 47, 2, 1, 3, 1, 20}, num_ranks, GetParam(), ++seed);
  }
}

// In bfloat16, gradients of so few keys are mostly what roundings leave.
TEST(DeviceRingAttentionInFloat32, ShorterThanTheRing) {
  for (const LayoutType layout : {LayoutType::kContiguous, LayoutType::kZigzag, LayoutType::kStriped})
    expect_reference({layout, Masking::kCausal, 3, 1, 1, 2, 1, 16}, 4, DType::kFloat32, 30);
}

INSTANTIATE_TEST_SUITE_P(DTypes, DeviceRingAttention, testing::Values(DType::kFloat32, DType::kBFloat16),
                         [](const auto& i) { return std::string(name(i.param)); });

}  // namespace
}  // namespace longspan::test
