#include "core/kernels/normalization.h"

#include "core/kernels/checks.h"

namespace longspan {

void Normalization::rms_norm_forward(const Context& context, double epsilon, const Tensor& x,
                                     const Tensor& weight, const Tensor& y, const Tensor& inverse_rms) const {
  expect_rows(x, "x");
  expect_dense(weight, {x.size(1)}, x.dtype(), "weight");
  expect_dense(y, x.shape(), x.dtype(), "y");
  expect_dense(inverse_rms, {x.size(0)}, accumulator(x.dtype()), "inverse_rms");
  check(epsilon >= 0, "epsilon is {}, which is below 0", epsilon);
  if (x.num_elements() == 0) return;
  do_forward(context, epsilon, x, weight, y, inverse_rms);
}

void Normalization::rms_norm_backward_input(const Context& context, const Tensor& dy, const Tensor& x,
                                            const Tensor& weight, const Tensor& inverse_rms,
                                            const Tensor& dx) const {
  expect_rows(x, "x");
  expect_dense(dy, x.shape(), x.dtype(), "dy");
  expect_dense(weight, {x.size(1)}, x.dtype(), "weight");
  expect_dense(inverse_rms, {x.size(0)}, accumulator(x.dtype()), "inverse_rms");
  expect_dense(dx, x.shape(), x.dtype(), "dx");
  if (x.num_elements() == 0) return;
  do_backward_input(context, dy, x, weight, inverse_rms, dx);
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
