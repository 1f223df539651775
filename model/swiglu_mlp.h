// SwigluMlp: y = (silu(x Wg^T) * (x Wu^T)) Wd^T.
#pragma once

#include "core/nn/linear.h"

namespace longspan {

class SwigluMlp {
 public:
  struct Stash {
    Linear::Stash gate_linear, up_linear, down_linear;
    Tensor gate, up;
    template <class F>
    void for_each_storage(F visit) {
      gate_linear.for_each_storage(visit);
      up_linear.for_each_storage(visit);
      down_linear.for_each_storage(visit);
      visit(gate);
      visit(up);
    }
  };
  SwigluMlp(const Parameter& gate, const Parameter& up, const Parameter& down)
      : gate_(gate, nullptr), up_(up, nullptr), down_(down, nullptr) {}

  // x [tokens, hidden] -> [tokens, hidden]
  Tensor forward(Context& context, const Tensor& x, Stash* stash) const;
  Tensor backward_input(Context& context, const Tensor& dy, Stash& stash) const;
  void backward_weight(Context& context, Stash& stash) const;

 private:
  Linear gate_, up_, down_;
};

}  // namespace longspan
