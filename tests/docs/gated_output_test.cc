// The layer that docs/01 adds, held to what every layer is held to.
#include "tests/docs/gated_output.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/support/reference_context.h"
#include "tests/support/tensors.h"

namespace longspan {
namespace {

constexpr int64_t kTokens = 5, kHidden = 3, kWidth = 4;

class GatedOutputTest : public testing::Test {
 protected:
  GatedOutputTest() {
    parameters_.materialize(context_, ParameterSet::Purpose::kTraining);
    parameters_.initialize(context_, 1, 0.5);
  }
  Tensor random(const Shape& shape, const char* name) {
    return test::random_tensor(context_, shape, DType::kFloat64, 1, name);
  }
  // The sum of what comes out, weighted by dy: its gradient by y is dy.
  double objective() {
    return test::dot(test::values(layer_.forward(context_, x_, a_, nullptr)), test::values(dy_));
  }
  void expect_gradient(const Tensor& of, const Tensor& gradient) {
    for (int64_t i = 0; i < of.num_elements(); ++i) {
      double& element = of.data<double>()[i];
      const double kept = element, step = 1e-5;
      element = kept + step;
      const double above = objective();
      element = kept - step;
      const double below = objective();
      element = kept;
      EXPECT_NEAR(gradient.data<double>()[i], (above - below) / (2 * step), 1e-8) << "element " << i;
    }
  }

  Context context_ = test::make_context(DType::kFloat64);
  ParameterSet parameters_;
  const Parameter& weight_ = parameters_.add("gate.weight", {kWidth, kHidden}, Initialization::kNormal);
  const GatedOutput layer_{weight_};
  const Tensor x_ = random({kTokens, kHidden}, "x"), a_ = random({kTokens, kWidth}, "a");
  const Tensor dy_ = random({kTokens, kWidth}, "dy");
};

TEST_F(GatedOutputTest, GradientsMatchCentralDifferences) {
  GatedOutput::Stash stash;
  layer_.forward(context_, x_, a_, &stash);
  const auto [dx, da] = layer_.backward_input(context_, dy_, stash);
  layer_.backward_weight(context_, stash);
  expect_gradient(x_, dx);
  expect_gradient(a_, da);
  expect_gradient(weight_.value, weight_.gradient);
}

TEST_F(GatedOutputTest, WeightGradientsAccumulateAndTheStashIsGone) {
  std::vector<double> once;
  for (const int pass : {1, 2}) {
    GatedOutput::Stash stash;
    layer_.forward(context_, x_, a_, &stash);
    std::set<const void*> storages;
    stash.for_each_storage([&](Tensor& t) { storages.insert(t.storage_id()); });
    EXPECT_EQ(storages.size(), 4u) << "x, gate, a, and nothing for dy yet";
    layer_.backward_input(context_, dy_, stash);
    layer_.backward_weight(context_, stash);
    stash.for_each_storage([](Tensor& t) { EXPECT_FALSE(t.defined()); });
    const auto gradient = test::values(weight_.gradient);
    if (pass == 1) once = gradient;
    for (size_t i = 0; i < once.size(); ++i) EXPECT_NEAR(gradient[i], pass * once[i], 1e-12);
  }
}

}  // namespace
}  // namespace longspan
