// Packed copies of weights hold what the weights hold, whoever wrote those last.
#include <gtest/gtest.h>

#include "core/kernels/backends.h"
#include "core/nn/linear.h"
#include "core/nn/tiled_loss.h"
#include "tests/support/tensors.h"
#include "train/adamw.h"

namespace longspan::test {
namespace {

constexpr int64_t kTokens = 5, kIn = 70, kOut = 50;

class PackedWeights : public testing::TestWithParam<CpuLevel> {
 protected:
  PackedWeights() {
    auto kernels = std::make_shared<KernelSet>("cpu");
    add_cpu_kernels(*kernels, GetParam());
    context_.emplace(Context::Options{.device = {},
                                      .compute_dtype = DType::kBFloat16,
                                      .num_threads = 1,
                                      .memory = memory_,
                                      .kernels = kernels});
    weight_.multiplies = true;
  }

  // What a layer gives must be what it gives without packed copies.
  void expect_fresh(const std::string& when) {
    Parameter plain = weight_;
    plain.packed = plain.packed_transposed = {};
    Context& c = *context_;
    const Tensor x = random_tensor(c, {kTokens, kIn}, DType::kBFloat16, 1, "x");
    const Tensor dy = random_tensor(c, {kTokens, kOut}, DType::kBFloat16, 1, "dy");
    const Linear with(weight_, nullptr), without(plain, nullptr);
    Linear::Stash stash;
    expect_near(values(with.forward(c, x, nullptr)), values(without.forward(c, x, nullptr)), when + ": y");
    expect_near(values(with.backward_input(c, dy, stash)), values(without.backward_input(c, dy, stash)), when + ": dx");
    const TiledLoss head_with(weight_, 2), head_without(plain, 2);
    expect_near(values(head_with.logits(c, x)), values(head_without.logits(c, x)), when + ": logits");
  }

  static void expect_near(const std::vector<double>& got, const std::vector<double>& want, const std::string& what) {
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], 0.1) << what << ", element " << i;
  }

  std::shared_ptr<StatisticsResource> memory_ = std::make_shared<StatisticsResource>(std::make_shared<HostResource>());
  std::optional<Context> context_;
  ParameterSet parameters_;
  Parameter& weight_ = parameters_.add("w", {kOut, kIn}, Initialization::kNormal);
};

TEST_P(PackedWeights, FollowTheWeights) {
  const Context& c = *context_;
  parameters_.materialize(c, ParameterSet::Purpose::kTraining);
  parameters_.initialize(c, 1, 1.0);
  EXPECT_EQ(weight_.packed.defined(), cpu_packs(DType::kBFloat16, GetParam()));
  expect_fresh("drawn");
  const size_t bytes = memory_->statistics().current_by_tag[static_cast<size_t>(MemoryTag::kWeights)];
  AdamW optimizer(c, parameters_, {});
  std::fill_n(weight_.gradient.data<float>(), weight_.gradient.num_elements(), 1.0f);
  const std::vector<double> before = values(weight_.value);
  optimizer.step(c, 1, 1.0, 1.0);
  ASSERT_GT(std::abs(values(weight_.value)[0] - before[0]), 0.5) << "the step must show";
  expect_fresh("after a step");
  EXPECT_EQ(memory_->statistics().current_by_tag[static_cast<size_t>(MemoryTag::kWeights)], bytes) << "made anew";
}

TEST_P(PackedWeights, AreHalfAsManyWithoutBackward) {
  parameters_.materialize(*context_, ParameterSet::Purpose::kInference);
  parameters_.initialize(*context_, 1, 1.0);
  EXPECT_EQ(weight_.packed_transposed.defined(), cpu_packs(DType::kBFloat16, GetParam()));
  EXPECT_FALSE(weight_.packed.defined());
  expect_fresh("drawn");
}

INSTANTIATE_TEST_SUITE_P(All, PackedWeights, testing::ValuesIn(supported_cpu_levels()),
                         [](const auto& level) { return std::string(name(level.param)); });

}  // namespace
}  // namespace longspan::test
