#include "core/kernels/normalization.h"

#include "core/kernels/checks.h"

namespace longspan {

namespace {

void expect_forward(double epsilon, const Tensor& x, const Tensor& weight, const Tensor& y, const Tensor& inverse_rms) {
  expect_rows(x, "x");
  expect_dense(weight, {x.size(1)}, x.dtype(), "weight");
  expect_dense(y, x.shape(), x.dtype(), "y");
  expect_dense(inverse_rms, {x.size(0)}, accumulator(x.dtype()), "inverse_rms");
  check(epsilon >= 0, "epsilon is {}, which is below 0", epsilon);
}

void expect_backward_input(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& inverse_rms,
                           const Tensor& dx) {
  expect_rows(x, "x");
  expect_dense(dy, x.shape(), x.dtype(), "dy");
  expect_dense(weight, {x.size(1)}, x.dtype(), "weight");
  expect_dense(inverse_rms, {x.size(0)}, accumulator(x.dtype()), "inverse_rms");
  expect_dense(dx, x.shape(), x.dtype(), "dx");
}

}  // namespace

void Normalization::rms_norm_forward(const Context& context, double epsilon, const Tensor& x,
                                     const Tensor& weight, const Tensor& y, const Tensor& inverse_rms) const {
  expect_forward(epsilon, x, weight, y, inverse_rms);
  if (x.num_elements() == 0) return;
  do_forward(context, epsilon, x, {}, weight, {}, y, inverse_rms);
}

void Normalization::rms_norm_residual_forward(const Context& context, double epsilon, const Tensor& x,
                                              const Tensor& residual, const Tensor& weight, const Tensor& sum,
                                              const Tensor& y, const Tensor& inverse_rms) const {
  expect_forward(epsilon, x, weight, y, inverse_rms);
  expect_dense(residual, x.shape(), x.dtype(), "residual");
  expect_dense(sum, x.shape(), x.dtype(), "sum");
  if (x.num_elements() == 0) return;
  do_forward(context, epsilon, x, residual, weight, sum, y, inverse_rms);
}

void Normalization::rms_norm_backward_input(const Context& context, const Tensor& dy, const Tensor& x,
                                            const Tensor& weight, const Tensor& inverse_rms,
                                            const Tensor& dx) const {
  expect_backward_input(dy, x, weight, inverse_rms, dx);
  if (x.num_elements() == 0) return;
  do_backward_input(context, dy, x, weight, inverse_rms, {}, dx);
}

void Normalization::rms_norm_residual_backward_input(const Context& context, const Tensor& dy, const Tensor& x,
                                                     const Tensor& weight, const Tensor& inverse_rms,
                                                     const Tensor& residual, const Tensor& dx) const {
  expect_backward_input(dy, x, weight, inverse_rms, dx);
  expect_dense(residual, x.shape(), x.dtype(), "residual");
  if (x.num_elements() == 0) return;
  do_backward_input(context, dy, x, weight, inverse_rms, residual, dx);
}

void Normalization::rms_norm_backward_weight(const Context& context, const Tensor& dy, const Tensor& x,
                                             const Tensor& inverse_rms, const Tensor& dweight) const {
  expect_rows(x, "x");
  expect_dense(dy, x.shape(), x.dtype(), "dy");
  expect_dense(inverse_rms, {x.size(0)}, accumulator(x.dtype()), "inverse_rms");
  expect_dense(dweight, {x.size(1)}, accumulator(x.dtype()), "dweight");
  if (x.num_elements() == 0) return;
  do_backward_weight(context, dy, x, inverse_rms, dweight);
}

}  // namespace longspan
