#include "core/nn/linear.h"

#include "core/kernels/elementwise.h"
#include "core/kernels/linear_algebra.h"

namespace longspan {

Tensor Linear::forward(Context& context, const Tensor& x, Stash* stash) const {
  Tensor y = context.empty({x.size(0), weight_.shape[0]}, context.compute_dtype(), kept_in(stash));
  context.kernels<LinearAlgebra>().gemm(context, {.b = Transpose::kYes, .packed_b = weight_.packed_transposed}, x,
                                        weight_.value, y);
  if (bias_) context.kernels<Elementwise>().add_bias(context, bias_->value, y);
  if (stash) stash->x = x;
  return y;
}

Tensor Linear::backward_input(Context& context, const Tensor& dy, Stash& stash) const {
  Tensor dx = context.empty({dy.size(0), weight_.shape[1]}, context.compute_dtype());
  context.kernels<LinearAlgebra>().gemm(context, {.packed_b = weight_.packed}, dy, weight_.value, dx);
  stash.dy = dy;
  return dx;
}

void Linear::add_backward_input(Context& context, const Tensor& dy, Stash& stash, const Tensor& dx) const {
  context.kernels<LinearAlgebra>().gemm(context, {.write = Write::kAccumulate, .packed_b = weight_.packed}, dy,
                                        weight_.value, dx);
  stash.dy = dy;
}

void Linear::backward_weight(Context& context, Stash& stash) const {
  context.kernels<LinearAlgebra>().gemm(context, {.a = Transpose::kYes, .write = Write::kAccumulate}, stash.dy,
                                        stash.x, weight_.gradient);
  if (bias_) context.kernels<Elementwise>().accumulate_rows(context, stash.dy, bias_->gradient);
  stash = {};
}

}  // namespace longspan
