#include "core/nn/linear.h"

#include "core/kernels/elementwise.h"

namespace longspan {

void Linear::multiply(Context& context, const Tensor& x, const Tensor& y) const {
  context.kernels<LinearAlgebra>().gemm(context, {.b = Transpose::kYes, .packed_b = weight_.packed_transposed}, x,
                                        weight_.value, y);
  if (bias_) context.kernels<Elementwise>().add_bias(context, bias_->value, y);
}

void Linear::multiply_back(Context& context, const Tensor& dy, Write write, const Tensor& dx) const {
  context.kernels<LinearAlgebra>().gemm(context, {.write = write, .packed_b = weight_.packed}, dy, weight_.value, dx);
}

void Linear::add_weight_gradient(Context& context, const Tensor& dy, const Tensor& x) const {
  context.kernels<LinearAlgebra>().gemm(context, {.a = Transpose::kYes, .write = Write::kAccumulate}, dy, x,
                                        weight_.gradient);
}

void Linear::add_bias_gradient(Context& context, const Tensor& dy) const {
  if (bias_) context.kernels<Elementwise>().accumulate_rows(context, dy, bias_->gradient);
}

Tensor Linear::forward(Context& context, const Tensor& x, Stash* stash) const {
  Tensor y = context.empty({x.size(0), out_features()}, context.compute_dtype(), kept_in(stash));
  multiply(context, x, y);
  if (stash) stash->x = x;
  return y;
}

Tensor Linear::backward_input(Context& context, const Tensor& dy, Stash& stash) const {
  Tensor dx = context.empty({dy.size(0), in_features()}, context.compute_dtype());
  multiply_back(context, dy, Write::kAssign, dx);
  stash.dy = dy;
  return dx;
}

void Linear::add_backward_input(Context& context, const Tensor& dy, Stash& stash, const Tensor& dx) const {
  multiply_back(context, dy, Write::kAccumulate, dx);
  stash.dy = dy;
}

void Linear::backward_weight(Context& context, Stash& stash) const {
  add_weight_gradient(context, stash.dy, stash.x);
  add_bias_gradient(context, stash.dy);
  stash = {};
}

}  // namespace longspan
