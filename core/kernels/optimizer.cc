#include "core/kernels/optimizer.h"

#include <vector>

#include "core/kernels/checks.h"

namespace longspan {

namespace {

void expect_options(const AdamWOptions& options) {
  check(options.step >= 1, "adamw is at step {}, but steps count from 1", options.step);
  check(options.beta1 >= 0 && options.beta1 < 1, "beta1 is {}, not in [0, 1)", options.beta1);
  check(options.beta2 >= 0 && options.beta2 < 1, "beta2 is {}, not in [0, 1)", options.beta2);
}

}  // namespace

void OptimizerKernels::adamw(const Context& context, const AdamWOptions& options, const Tensor& gradient,
                             const Tensor& master, const Tensor& first_moment, const Tensor& second_moment,
                             const Tensor& value) const {
  expect_options(options);
  expect_floating(value, "value");
  expect_contiguous(value, "value");
  const DType dtype = accumulator(value.dtype());
  expect_dense(gradient, value.shape(), dtype, "gradient");
  expect_dense(master, value.shape(), dtype, "master");
  expect_dense(first_moment, value.shape(), dtype, "first_moment");
  expect_dense(second_moment, value.shape(), dtype, "second_moment");
  if (value.num_elements() == 0) return;
  do_adamw(context, options, gradient, master, first_moment, second_moment, value);
}

double OptimizerKernels::sum_of_squares(const Context& context, std::span<const Tensor> xs) const {
  std::vector<Tensor> counted;
  for (const Tensor& x : xs) {
    expect_floating(x, "x");
    expect_contiguous(x, "x");
    expect_dtype(x, xs.front().dtype(), "x");
    if (x.num_elements() > 0) counted.push_back(x);
  }
  return counted.empty() ? 0.0 : do_sum_of_squares(context, counted);
}

}  // namespace longspan
