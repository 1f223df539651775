// Kernel family: the loss of next-token prediction.
#pragma once

#include "core/runtime/context.h"

namespace longspan {

constexpr int32_t kNoTarget = -1;  // a token that predicts nothing

class Loss {
 public:
  static constexpr const char* kName = "loss";
  virtual ~Loss() = default;

  // losses[t] = logsumexp(logits[t]) - logits[t, targets[t]], or 0 where targets[t] is kNoTarget; assigned.
  // logits [tokens, vocabulary] and losses [tokens] in the accumulator; targets int32 [tokens], each below vocabulary.
  void cross_entropy(const Context& context, const Tensor& logits, const Tensor& targets,
                     const Tensor& losses) const;
  // The same, and dlogits = gradient_scale * (softmax(logits) - one_hot(target)), zeros where there is no target;
  // dlogits [tokens, vocabulary] in the compute dtype, assigned; it may be the logits tensor itself, or what gradient_over gave.
  void cross_entropy_with_gradient(const Context& context, const Tensor& logits, const Tensor& targets,
                                   double gradient_scale, const Tensor& losses, const Tensor& dlogits) const;
  // Where dlogits of this dtype may lie with the least memory: the logits themselves; over the beginnings of their rows, if the
  // backend can do that; else a tensor of its own.
  Tensor gradient_over(const Context& context, const Tensor& logits, DType dtype) const;

 private:
  virtual bool narrows_in_place() const { return false; }
  // dlogits is undefined when only the losses are wanted
  virtual void do_cross_entropy(const Context&, const Tensor& logits, const Tensor& targets, double gradient_scale,
                                const Tensor& losses, const Tensor& dlogits) const = 0;
};

}  // namespace longspan
