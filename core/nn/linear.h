// Linear: y = x W^T (+ b), with W [out, in] as Hugging Face stores it.
#pragma once

#include "core/nn/parameter.h"

namespace longspan {

class Linear {
 public:
  struct Stash {
    Tensor x, dy;
    template <class F>
    void for_each_storage(F visit) {
      visit(x);
      visit(dy);
    }
  };
  // `bias` may be null.
  Linear(const Parameter& weight, const Parameter* bias) : weight_(weight), bias_(bias) {}

  // x [tokens, in] -> [tokens, out]
  Tensor forward(Context& context, const Tensor& x, Stash* stash) const;
  // dx [tokens, in] = dy W, assigned. The second form adds to what dx holds.
  Tensor backward_input(Context& context, const Tensor& dy, Stash& stash) const;
  void add_backward_input(Context& context, const Tensor& dy, Stash& stash, const Tensor& dx) const;
  // dW += dy^T x, db += column sums of dy.
  void backward_weight(Context& context, Stash& stash) const;

 private:
  const Parameter& weight_;
  const Parameter* bias_;
};

}  // namespace longspan
