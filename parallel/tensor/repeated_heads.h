// Key heads as attention's kernel wants them where a rank's groups are not of one size (HeadSplit::kv_of), and the way back.
// Both are products with a matrix of zeros and ones, made once, which every backend multiplies exactly and in order. They cost
// (heads held x heads seen) x head_dim^2 multiplications a token, little beside the projections, and only on ranks whose heads do
// not divide.
#pragma once

#include <map>

#include "core/runtime/context.h"
#include "parallel/tensor/head_split.h"

namespace longspan {

// Of one rank's thread, and of one device.
class RepeatedHeads {
 public:
  explicit RepeatedHeads(HeadSplit split) : split_(std::move(split)) {}
  const HeadSplit& split() const { return split_; }

  // x [tokens, heads held, head_dim], in the compute dtype -> [tokens, heads that the kernel sees, head_dim], under `tag`; x
  // itself where those are the same.
  Tensor repeat(Context& context, const Tensor& x, MemoryTag tag = MemoryTag::kActivations) const;
  // dx [tokens, heads held, head_dim]: sums over what was repeated, in the dtype of dy, so that gradients in the accumulator are
  // not rounded one by one; dy itself where nothing was.
  Tensor sum(Context& context, const Tensor& dy) const;

 private:
  Tensor selection(const Context& context, int64_t head_dim, DType dtype) const;

  HeadSplit split_;
  mutable std::map<DType, Tensor> selections_;  // of the last head_dim
};

}  // namespace longspan
