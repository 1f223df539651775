// Linear: y = x W^T (+ b), with W [out, in] as Hugging Face stores it.
#pragma once

#include "core/kernels/linear_algebra.h"
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

  // What the above are made of, for layers that have rows of tensors and keep them themselves. y and dx may be in the
  // accumulator.
  int64_t in_features() const { return weight_.shape[1]; }
  int64_t out_features() const { return weight_.shape[0]; }
  void multiply(Context& context, const Tensor& x, const Tensor& y) const;                           // y = x W^T (+ b)
  void multiply_back(Context& context, const Tensor& dy, Write write, const Tensor& dx) const;       // dx (+)= dy W
  void add_weight_gradient(Context& context, const Tensor& dy, const Tensor& x) const;               // dW += dy^T x
  void add_bias_gradient(Context& context, const Tensor& dy) const;                                  // db, if there is one

 private:
  const Parameter& weight_;
  const Parameter* bias_;
};

}  // namespace longspan
