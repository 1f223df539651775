#include "core/kernels/activation.h"

#include "core/kernels/checks.h"

namespace longspan {

void Activation::swiglu_forward(const Context& context, const Tensor& gate, const Tensor& up,
                                const Tensor& y) const {
  expect_rows(gate, "gate");
  expect_dense(up, gate.shape(), gate.dtype(), "up");
  expect_dense(y, gate.shape(), gate.dtype(), "y");
  if (gate.num_elements() == 0) return;
  do_swiglu_forward(context, gate, up, y);
}

void Activation::swiglu_backward(const Context& context, const Tensor& dy, const Tensor& gate,
                                 const Tensor& up, const Tensor& dgate, const Tensor& dup) const {
  expect_rows(gate, "gate");
  expect_dense(dy, gate.shape(), gate.dtype(), "dy");
  expect_dense(up, gate.shape(), gate.dtype(), "up");
  expect_dense(dgate, gate.shape(), gate.dtype(), "dgate");
  expect_dense(dup, gate.shape(), gate.dtype(), "dup");
  if (gate.num_elements() == 0) return;
  do_swiglu_backward(context, dy, gate, up, dgate, dup);
}

}  // namespace longspan
