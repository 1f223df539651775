// Kernel family: the loss of next-token prediction.
//
// Where ranks share the vocabulary, each has the logits of a slice of it, and the softmax is put together from parts (Milakov and
// Gimelshein 2018): partial_cross_entropy on each rank, the parts of all ranks gathered, combine_cross_entropy, and
// cross_entropy_gradient from the totals. Every token gets the same loss to the last bit on every rank.
#pragma once

#include "core/kernels/vocabulary_slice.h"
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
  // parts [3, tokens], assigned: of a token's logits held here, the largest, m, then the sum of exp(logit - m), and the target's
  // logit, 0 where it is not held here. Of none but logits of -inf the sum is 0. logits [tokens, held], parts in the accumulator;
  // targets each below slice.size.
  void partial_cross_entropy(const Context& context, const VocabularySlice& slice, const Tensor& logits, const Tensor& targets,
                             const Tensor& parts) const;
  // From the parts of all ranks, [ranks, 3, tokens], summed in their order: losses [tokens] as of cross_entropy, and
  // totals [2, tokens], the largest logit of all, m, and the sum of exp(logit - m); assigned. All in the accumulator.
  void combine_cross_entropy(const Context& context, const VocabularySlice& slice, const Tensor& parts, const Tensor& targets,
                             const Tensor& losses, const Tensor& totals) const;
  // dlogits of the slice, as of cross_entropy_with_gradient, from the totals; it may be the logits tensor
  // itself, or what gradient_over gave.
  void cross_entropy_gradient(const Context& context, const VocabularySlice& slice, const Tensor& logits, const Tensor& targets,
                              double gradient_scale, const Tensor& totals, const Tensor& dlogits) const;

 private:
  virtual bool narrows_in_place() const { return false; }
  virtual void do_partial(const Context&, const VocabularySlice& slice, const Tensor& logits, const Tensor& targets,
                          const Tensor& parts) const = 0;
  virtual void do_combine(const Context&, const VocabularySlice& slice, const Tensor& parts, const Tensor& targets,
                          const Tensor& losses, const Tensor& totals) const = 0;
  virtual void do_gradient(const Context&, const VocabularySlice& slice, const Tensor& logits, const Tensor& targets,
                           double gradient_scale, const Tensor& totals, const Tensor& dlogits) const = 0;
  // dlogits is undefined when only the losses are wanted
  virtual void do_cross_entropy(const Context&, const Tensor& logits, const Tensor& targets, double gradient_scale,
                                const Tensor& losses, const Tensor& dlogits) const = 0;
};

}  // namespace longspan
