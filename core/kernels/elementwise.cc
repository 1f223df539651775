#include "core/kernels/elementwise.h"

#include "core/kernels/checks.h"

namespace longspan {

void Elementwise::add(const Context& context, const Tensor& a, const Tensor& b, const Tensor& sum) const {
  expect_floating(a, "a");
  expect_contiguous(a, "a");
  expect_dense(b, a.shape(), a.dtype(), "b");
  expect_dense(sum, a.shape(), a.dtype(), "sum");
  if (a.num_elements() == 0) return;
  do_add(context, a, b, sum);
}

void Elementwise::accumulate(const Context& context, const Tensor& x, const Tensor& sum) const {
  expect_floating(x, "x");
  expect_contiguous(x, "x");
  expect_dense(sum, x.shape(), accumulator(x.dtype()), "sum");
  if (x.num_elements() == 0) return;
  do_accumulate(context, x, sum);
}

void Elementwise::convert(const Context& context, const Tensor& from, const Tensor& to) const {
  expect_floating(from, "from");
  expect_contiguous(from, "from");
  expect_floating(to, "to");
  expect_shape(to, from.shape(), "to");
  expect_contiguous(to, "to");
  if (from.num_elements() == 0) return;
  do_convert(context, from, to);
}

void Elementwise::add_bias(const Context& context, const Tensor& bias, const Tensor& y) const {
  expect_rows(y, "y");
  expect_dense(bias, {y.size(1)}, y.dtype(), "bias");
  if (y.num_elements() == 0) return;
  do_add_bias(context, bias, y);
}

void Elementwise::accumulate_rows(const Context& context, const Tensor& x, const Tensor& sum) const {
  expect_rows(x, "x");
  expect_dense(sum, {x.size(1)}, accumulator(x.dtype()), "sum");
  if (x.num_elements() == 0) return;
  do_accumulate_rows(context, x, sum);
}

}  // namespace longspan
