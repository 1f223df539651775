// Ring attention of the cuda backend on the device of this program, against one rank in double precision on the same inputs.
// Ranks are threads, which reach each other through the host.
#include <gtest/gtest.h>

#include <mutex>

#include "parallel/comm/backends.h"
#include "tests/attention/ring_problem.h"
#include "tests/support/device_under_test.h"
#include "tests/support/reference_context.h"

namespace longspan::test {
namespace {

RingResult of_reference(const RingProblem& problem, DType drawn, uint64_t seed) {
  Context reference = make_context(DType::kFloat64);
  const auto alone = make_self_communicator();
  return attend_on_ring(problem, reference, *alone, drawn, seed);
}

RingResult on_devices(const RingProblem& problem, int num_ranks, DType dtype, uint64_t seed) {
  RingResult result;
  std::mutex mutex;
  run_in_process(num_ranks, [&](Communicator& threads) {
    const auto ring = make_staging_communicator(threads);
    Context context = device_context(dtype);
    const RingResult part = attend_on_ring(problem, context, *ring, dtype, seed);
    const std::lock_guard lock(mutex);
    add(part, result);
  });
  return result;
}

class DeviceRingAttention : public testing::TestWithParam<DType> {};

void expect_reference(const RingProblem& problem, int num_ranks, DType dtype, uint64_t seed) {
  const double tolerance = dtype == DType::kFloat32 ? 3e-6 : 5e-3;  // as on the CPU (ring_attention_test.cc)
  SCOPED_TRACE(fmt::format("{} ranks, {}, {}", num_ranks, describe(problem), name(dtype)));
  const RingResult want = of_reference(problem, dtype, seed);
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
