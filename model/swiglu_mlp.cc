#include "core/nn/swiglu_mlp.h"

#include "core/kernels/activation.h"

namespace longspan {

Tensor SwigluMlp::forward(Context& context, const Tensor& x, Stash* stash) const {
  const Tensor gate = gate_.forward(context, x, stash ? &stash->gate_linear : nullptr);
  const Tensor up = up_.forward(context, x, stash ? &stash->up_linear : nullptr);
  const Tensor y = context.empty(gate.shape(), gate.dtype(), kept_in(stash));
  context.kernels<Activation>().swiglu_forward(context, gate, up, y);
  if (stash) {
    stash->gate = gate;
    stash->up = up;
  }
  return down_.forward(context, y, stash ? &stash->down_linear : nullptr);
}

Tensor SwigluMlp::backward_input(Context& context, const Tensor& dy, Stash& stash) const {
  const Tensor dactivation = down_.backward_input(context, dy, stash.down_linear);
  const Tensor dgate = context.empty(stash.gate.shape(), stash.gate.dtype());
  const Tensor dup = context.empty(stash.up.shape(), stash.up.dtype());
  context.kernels<Activation>().swiglu_backward(context, dactivation, stash.gate, stash.up, dgate, dup);
  stash.gate = stash.up = {};
  Tensor dx = gate_.backward_input(context, dgate, stash.gate_linear);
  up_.add_backward_input(context, dup, stash.up_linear, dx);
  return dx;
}

void SwigluMlp::backward_weight(Context& context, Stash& stash) const {
  gate_.backward_weight(context, stash.gate_linear);
  up_.backward_weight(context, stash.up_linear);
  down_.backward_weight(context, stash.down_linear);
  stash = {};
}

}  // namespace longspan
