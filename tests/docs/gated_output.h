// The layer that docs/01 adds: y = silu(x W^T) * a, a gate on what attention gives (Qiu et al. 2025, with silu).
#pragma once

#include "core/nn/linear.h"

namespace longspan {

class GatedOutput {
 public:
  struct Stash {
    Linear::Stash linear;
    Tensor gate, a;
    template <class F>
    void for_each_storage(F visit) {
      linear.for_each_storage(visit);
      visit(gate);
      visit(a);
    }
  };
  struct InputGradient {
    Tensor dx, da;
  };
  explicit GatedOutput(const Parameter& weight) : linear_(weight, nullptr) {}

  // x [tokens, hidden], a [tokens, width] -> [tokens, width]
  Tensor forward(Context& context, const Tensor& x, const Tensor& a, Stash* stash) const;
  InputGradient backward_input(Context& context, const Tensor& dy, Stash& stash) const;
  void backward_weight(Context& context, Stash& stash) const;

 private:
  Linear linear_;
};

}  // namespace longspan
