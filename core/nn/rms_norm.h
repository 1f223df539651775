// RmsNorm: core/kernels/normalization.h as a layer, over the last dim.
#pragma once

#include "core/nn/parameter.h"

namespace longspan {

class RmsNorm {
 public:
  struct Stash {
    Tensor x, inverse_rms, dy;
    template <class F>
    void for_each_storage(F visit) {
      visit(x);
      visit(inverse_rms);
      visit(dy);
    }
  };
  RmsNorm(const Parameter& weight, double epsilon) : weight_(weight), epsilon_(epsilon) {}

  // x [rows, n] -> the same shape.
  Tensor forward(Context& context, const Tensor& x, Stash* stash) const;
  // The same of x + residual, which is assigned to `sum`; that may be x or residual.
  Tensor forward(Context& context, const Tensor& x, const Tensor& residual, const Tensor& sum, Stash* stash) const;
  Tensor backward_input(Context& context, const Tensor& dy, Stash& stash) const;
  // The same plus `residual`, the gradient that comes to x around the norm.
  Tensor backward_input(Context& context, const Tensor& dy, const Tensor& residual, Stash& stash) const;
  void backward_weight(Context& context, Stash& stash) const;

 private:
  const Parameter& weight_;
  double epsilon_;
};

}  // namespace longspan
