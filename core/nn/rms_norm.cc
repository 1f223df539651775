#include "core/nn/rms_norm.h"

#include "core/kernels/normalization.h"

namespace longspan {

Tensor RmsNorm::forward(Context& context, const Tensor& x, Stash* stash) const {
  Tensor y = context.empty(x.shape(), x.dtype(), kept_in(stash));
  Tensor inverse_rms = context.empty({x.size(0)}, context.accumulator_dtype(), kept_in(stash));
  context.kernels<Normalization>().rms_norm_forward(context, epsilon_, x, weight_.value, y, inverse_rms);
  if (stash) *stash = {.x = x, .inverse_rms = inverse_rms, .dy = {}};
  return y;
}

Tensor RmsNorm::forward(Context& context, const Tensor& x, const Tensor& residual, const Tensor& sum,
                        Stash* stash) const {
  Tensor y = context.empty(x.shape(), x.dtype(), kept_in(stash));
  Tensor inverse_rms = context.empty({x.size(0)}, context.accumulator_dtype(), kept_in(stash));
  context.kernels<Normalization>().rms_norm_residual_forward(context, epsilon_, x, residual, weight_.value, sum, y,
                                                             inverse_rms);
  if (stash) *stash = {.x = sum, .inverse_rms = inverse_rms, .dy = {}};
  return y;
}

Tensor RmsNorm::backward_input(Context& context, const Tensor& dy, Stash& stash) const {
  Tensor dx = context.empty(dy.shape(), dy.dtype());
  context.kernels<Normalization>().rms_norm_backward_input(context, dy, stash.x, weight_.value, stash.inverse_rms, dx);
  stash.dy = dy;
  return dx;
}

Tensor RmsNorm::backward_input(Context& context, const Tensor& dy, const Tensor& residual, Stash& stash) const {
  Tensor dx = context.empty(dy.shape(), dy.dtype());
  context.kernels<Normalization>().rms_norm_residual_backward_input(context, dy, stash.x, weight_.value,
                                                                    stash.inverse_rms, residual, dx);
  stash.dy = dy;
  return dx;
}

void RmsNorm::backward_weight(Context& context, Stash& stash) const {
  context.kernels<Normalization>().rms_norm_backward_weight(context, stash.dy, stash.x, stash.inverse_rms,
                                                            weight_.gradient);
  stash = {};
}

}  // namespace longspan
