// Key heads as attention's kernel wants them where a rank's groups are not of one size (HeadSplit::kv_of), and the way back.
// Both are products with a matrix of zeros and ones, which every backend multiplies exactly, in order and in linear time; it is
// small beside the projections, and needed only on ranks whose heads do not divide.
#pragma once

#include "core/runtime/context.h"
#include "parallel/tensor/head_split.h"

namespace longspan {

// x [tokens, heads held, head_dim] -> [tokens, heads that the kernel sees, head_dim]; x itself where those are the same.
Tensor repeat_heads(Context& context, const HeadSplit& split, const Tensor& x);
// dx [tokens, heads held, head_dim]: sums over what was repeated; dy itself where nothing was. In the compute dtype.
Tensor sum_repeated_heads(Context& context, const HeadSplit& split, const Tensor& dy);

}  // namespace longspan
