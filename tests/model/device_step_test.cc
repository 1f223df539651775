// A whole training step with every tensor in memory that the host cannot touch: the cuda backend on the device of this
// program, held to the double-precision reference.
#include <gtest/gtest.h>

#include "parallel/comm/backends.h"
#include "tests/model/step_case.h"
#include "tests/support/device_under_test.h"
#include "tests/support/reference_context.h"

namespace longspan::test {
namespace {

// On threads whose devices reach each other through the host; what rank 0 has.
Step on_threads(int num_ranks, const ModelSpec& spec, LayoutType layout, DType dtype) {
  Step step;
  run_in_process(num_ranks, [&](Communicator& threads) {
    const auto ring = make_staging_communicator(threads);
    Context context = device_context(dtype);
    Step mine = step_on_ring(context, *ring, spec, layout);
    if (ring->rank() == 0) step = std::move(mine);
  });
  return step;
}

class DeviceStep : public testing::TestWithParam<int> {
 protected:
  ModelSpec spec() const {
    ModelSpec spec = small_spec(6);
    if (GetParam() == 1) {  // as Qwen2
      spec.bias = ModelSpec::Bias::kQkv;
      spec.tie_embeddings = ModelSpec::Tie::kYes;
    }
    if (GetParam() == 2) spec.qk_norm = ModelSpec::QkNorm::kYes;  // as Qwen3
    return spec;
  }
};

TEST_P(DeviceStep, InFloat32EqualsTheReference) {
  Context device = device_context(DType::kFloat32), reference = make_context(DType::kFloat64);
  const Step got = one_step(device, spec(), 2), want = one_step(reference, spec(), 2);
  EXPECT_EQ(difference(got, want, 1e-5), "");
  EXPECT_EQ(difference_of_weights(got, want, 1e-5), "");
}

INSTANTIATE_TEST_SUITE_P(Families, DeviceStep, testing::Values(0, 1, 2), [](const auto& i) {
  return std::string(i.param == 0 ? "Llama" : i.param == 1 ? "Qwen2" : "Qwen3");
});

TEST(DeviceRing, EqualsOneRankOfTheReference) {
  Context reference = make_context(DType::kFloat64);
  const Step want = one_step(reference, small_spec(6));
  for (const int num_ranks : {2, 4}) {
    for (const LayoutType layout : {LayoutType::kZigzag, LayoutType::kStriped}) {
      SCOPED_TRACE(fmt::format("{} ranks, {}", num_ranks, name(layout)));
      EXPECT_EQ(difference(on_threads(num_ranks, small_spec(6), layout, DType::kFloat32), want, 1e-5), "");
    }
  }
}

TEST(DeviceRing, InBFloat16IsNearTheReference) {
  Context reference = make_context(DType::kFloat64);
  const Step want = one_step(reference, small_spec(64));
  EXPECT_EQ(difference(on_threads(2, small_spec(64), LayoutType::kZigzag, DType::kBFloat16), want, 0.03), "");
}

TEST(DeviceStepInBFloat16, ByMatrixInstructionsIsNearTheReference) {
  Context device = device_context(DType::kBFloat16), reference = make_context(DType::kFloat64);
  const ModelSpec spec = small_spec(64);
  const Step got = one_step(device, spec), want = one_step(reference, spec);
  EXPECT_EQ(difference(got, want, 0.03), "");
  EXPECT_EQ(difference_of_weights(got, want, 0.01), "");
}

}  // namespace
}  // namespace longspan::test
