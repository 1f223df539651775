// The reference's gradients against central differences, in double.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "core/base/random.h"
#include "core/kernels/activation.h"
#include "core/kernels/loss.h"
#include "core/kernels/normalization.h"
#include "core/kernels/rotary.h"
#include "tests/core/kernel_cases.h"

namespace longspan::test {
namespace {

Tensor random(const Context& context, const Shape& shape, uint64_t seed) {
  const Tensor t = context.empty(shape, DType::kFloat64);
  for (int64_t i = 0; i < t.num_elements(); ++i) {
    t.data<double>()[i] = RandomStream(seed, "gradients").normal(static_cast<uint64_t>(i));
  }
  return t;
}

double dot(const Tensor& a, const Tensor& b) {
  double sum = 0;
  for (int64_t i = 0; i < a.num_elements(); ++i) sum += a.data<double>()[i] * b.data<double>()[i];
  return sum;
}

// d objective / d x by central differences must be `gradient`.
void expect_gradient(const Tensor& x, const Tensor& gradient, const std::function<double()>& objective) {
  constexpr double kStep = 1e-5;
  for (int64_t i = 0; i < x.num_elements(); ++i) {
    double& element = x.data<double>()[i];
    const double kept = element;
    element = kept + kStep;
    const double above = objective();
    element = kept - kStep;
    const double below = objective();
    element = kept;
    ASSERT_NEAR(gradient.data<double>()[i], (above - below) / (2 * kStep), 1e-8) << "element " << i;
  }
}

TEST(Gradients, RmsNorm) {
  const Context c = make_reference_context();
  const auto& kernels = c.kernels<Normalization>();
  const Tensor x = random(c, {3, 5}, 1), weight = random(c, {5}, 2), dy = random(c, {3, 5}, 3);
  const Tensor y = c.empty({3, 5}, DType::kFloat64), inverse = c.empty({3}, DType::kFloat64);
  const Tensor dx = c.empty({3, 5}, DType::kFloat64), dweight = c.zeros({5}, DType::kFloat64);
  const auto objective = [&] {
    kernels.rms_norm_forward(c, 0.1, x, weight, y, inverse);
    return dot(y, dy);
  };
  objective();
  kernels.rms_norm_backward_input(c, dy, x, weight, inverse, dx);
  kernels.rms_norm_backward_weight(c, dy, x, inverse, dweight);
  expect_gradient(x, dx, objective);
  expect_gradient(weight, dweight, objective);
}

TEST(Gradients, RmsNormOfASum) {
  const Context c = make_reference_context();
  const auto& kernels = c.kernels<Normalization>();
  const Tensor x = random(c, {3, 5}, 1), residual = random(c, {3, 5}, 2), weight = random(c, {5}, 3);
  const Tensor dy = random(c, {3, 5}, 4), dsum = random(c, {3, 5}, 5);  // both outputs go on
  const Tensor sum = c.empty({3, 5}, DType::kFloat64), y = c.empty({3, 5}, DType::kFloat64);
  const Tensor inverse = c.empty({3}, DType::kFloat64), dx = c.empty({3, 5}, DType::kFloat64);
  const auto objective = [&] {
    kernels.rms_norm_residual_forward(c, 0.1, x, residual, weight, sum, y, inverse);
    return dot(y, dy) + dot(sum, dsum);
  };
  objective();
  kernels.rms_norm_residual_backward_input(c, dy, sum, weight, inverse, dsum, dx);
  expect_gradient(x, dx, objective);
  expect_gradient(residual, dx, objective);
}

TEST(Gradients, Swiglu) {
  const Context c = make_reference_context();
  const auto& kernels = c.kernels<Activation>();
  const Tensor gate = random(c, {3, 4}, 1), up = random(c, {3, 4}, 2), dy = random(c, {3, 4}, 3);
  const Tensor y = c.empty({3, 4}, DType::kFloat64);
  const Tensor dgate = c.empty({3, 4}, DType::kFloat64), dup = c.empty({3, 4}, DType::kFloat64);
  const auto objective = [&] {
    kernels.swiglu_forward(c, gate, up, y);
    return dot(y, dy);
  };
  kernels.swiglu_backward(c, dy, gate, up, dgate, dup);
  expect_gradient(gate, dgate, objective);
  expect_gradient(up, dup, objective);
}

TEST(Gradients, CrossEntropy) {
  const Context c = make_reference_context();
  const auto& kernels = c.kernels<Loss>();
  const Tensor logits = random(c, {3, 6}, 1), losses = c.empty({3}, DType::kFloat64);
  const Tensor dlogits = c.empty({3, 6}, DType::kFloat64), targets = c.empty({3}, DType::kInt32);
  targets.data<int32_t>()[0] = 5;
  targets.data<int32_t>()[1] = kNoTarget;
  targets.data<int32_t>()[2] = 0;
  kernels.cross_entropy_with_gradient(c, logits, targets, 0.5, losses, dlogits);
  EXPECT_EQ(losses.data<double>()[1], 0);
  expect_gradient(logits, dlogits, [&] {
    kernels.cross_entropy(c, logits, targets, losses);
    return 0.5 * (losses.data<double>()[0] + losses.data<double>()[1] + losses.data<double>()[2]);
  });
}

TEST(Gradients, RotaryInverseIsTheTranspose) {
  const Context c = make_reference_context();
  const auto& kernels = c.kernels<Rotary>();
  const Tensor cosine = random(c, {3, 4}, 1), sine = random(c, {3, 4}, 2);
  const Tensor x = random(c, {3, 2, 8}, 3), y = random(c, {3, 2, 8}, 4);
  const Tensor rotated = random(c, {3, 2, 8}, 3), back = random(c, {3, 2, 8}, 4);
  kernels.rotate(c, RotaryDirection::kForward, cosine, sine, rotated);
  kernels.rotate(c, RotaryDirection::kInverse, cosine, sine, back);
  EXPECT_NEAR(dot(rotated, y), dot(x, back), 1e-12);
  EXPECT_GT(std::abs(dot(rotated, y) - dot(x, y)), 1e-3) << "it rotated nothing";
}

TEST(Rotary, PairsHalvesOfAHead) {
  const Context c = make_reference_context();
  const Tensor cosine = c.zeros({1, 2}, DType::kFloat64), sine = c.zeros({1, 2}, DType::kFloat64);
  const Tensor x = c.zeros({1, 1, 4}, DType::kFloat64);
  sine.data<double>()[0] = sine.data<double>()[1] = 1;  // a quarter turn
  for (int i = 0; i < 4; ++i) x.data<double>()[i] = i + 1;
  c.kernels<Rotary>().rotate(c, RotaryDirection::kForward, cosine, sine, x);
  EXPECT_EQ(values(x), (std::vector<double>{-3, -4, 1, 2}));
}

}  // namespace
}  // namespace longspan::test
