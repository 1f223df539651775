#include "tests/docs/gated_output.h"

#include "core/kernels/activation.h"

namespace longspan {

Tensor GatedOutput::forward(Context& context, const Tensor& x, const Tensor& a, Stash* stash) const {
  const Tensor gate = linear_.forward(context, x, stash ? &stash->linear : nullptr);
  Tensor y = context.empty(a.shape(), a.dtype(), kept_in(stash));
  context.kernels<Activation>().swiglu_forward(context, gate, a, y);
  if (stash) {
    stash->gate = gate;
    stash->a = a;
  }
  return y;
}

GatedOutput::InputGradient GatedOutput::backward_input(Context& context, const Tensor& dy, Stash& stash) const {
  const Tensor dgate = context.empty(stash.gate.shape(), stash.gate.dtype());
  Tensor da = context.empty(stash.a.shape(), stash.a.dtype());
  context.kernels<Activation>().swiglu_backward(context, dy, stash.gate, stash.a, dgate, da);
  stash.gate = stash.a = {};
  return {.dx = linear_.backward_input(context, dgate, stash.linear), .da = da};
}

void GatedOutput::backward_weight(Context& context, Stash& stash) const {
  linear_.backward_weight(context, stash.linear);
  stash = {};
}

}  // namespace longspan
