// Kernel family: gated activations. SwiGLU (Shazeer 2020): y = silu(gate) * up, silu(z) = z / (1 + exp(-z)).
#pragma once

#include "core/runtime/context.h"

namespace longspan {

class Activation {
 public:
  static constexpr const char* kName = "activation";
  virtual ~Activation() = default;

  // All [rows, n], contiguous, of one dtype. y, dgate and dup are assigned.
  void swiglu_forward(const Context& context, const Tensor& gate, const Tensor& up, const Tensor& y) const;
  void swiglu_backward(const Context& context, const Tensor& dy, const Tensor& gate, const Tensor& up,
                       const Tensor& dgate, const Tensor& dup) const;

 private:
  virtual void do_swiglu_forward(const Context&, const Tensor& gate, const Tensor& up, const Tensor& y) const = 0;
  virtual void do_swiglu_backward(const Context&, const Tensor& dy, const Tensor& gate, const Tensor& up,
                                  const Tensor& dgate, const Tensor& dup) const = 0;
};

}  // namespace longspan
