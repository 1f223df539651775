#include "model/swiglu_mlp.h"

#include "core/kernels/activation.h"

namespace longspan {

Tensor SwigluMlp::forward(Context& context, const Tensor& x, int64_t num_tokens, Stash* stash) const {
  std::vector<Tensor> inner = inner_.forward(context, x, num_tokens, stash ? &stash->inner_linear : nullptr);
  const Tensor gate = std::move(inner[0]), up = std::move(inner[1]);
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
  return inner_.backward_input(context, {dgate, dup}, stash.inner_linear);
}

void SwigluMlp::backward_weight(Context& context, Stash& stash) const {
  inner_.backward_weight(context, stash.inner_linear);
  down_.backward_weight(context, stash.down_linear);
  stash = {};
}

}  // namespace longspan
