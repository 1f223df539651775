// SwigluMlp: y = (silu(x Wg^T) * (x Wu^T)) Wd^T, between pieces of tokens; the ranks of a tensor axis share its inner columns.
#pragma once

#include "parallel/tensor/parallel_linear.h"

namespace longspan {

class SwigluMlp {
 public:
  struct Stash {
    ColumnParallel::Stash inner_linear;
    RowParallel::Stash down_linear;
    Tensor gate, up;
    template <class F>
    void for_each_storage(F visit) {
      inner_linear.for_each_storage(visit);
      down_linear.for_each_storage(visit);
      visit(gate);
      visit(up);
    }
  };
  SwigluMlp(Communicator& tensor, const Parameter& gate, const Parameter& up, const Parameter& down)
      : inner_(tensor, {Linear(gate, nullptr), Linear(up, nullptr)}), down_(tensor, down) {}

  // x [tokens of this piece, hidden], of num_tokens in all -> the same shape.
  Tensor forward(Context& context, const Tensor& x, int64_t num_tokens, Stash* stash) const;
  Tensor backward_input(Context& context, const Tensor& dy, Stash& stash) const;
  void backward_weight(Context& context, Stash& stash) const;

 private:
  ColumnParallel inner_;  // gate, up
  RowParallel down_;
};

}  // namespace longspan
