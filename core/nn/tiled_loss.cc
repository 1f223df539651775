#include "core/nn/tiled_loss.h"

#include <algorithm>

#include "core/kernels/linear_algebra.h"
#include "core/kernels/loss.h"

namespace longspan {

Tensor TiledLoss::logits(Context& context, const Tensor& x) const {
  Tensor logits = context.empty({x.size(0), weight_.shape[0]}, context.accumulator_dtype(), MemoryTag::kWorkspace);
  context.kernels<LinearAlgebra>().gemm(context, {.b = Transpose::kYes, .packed_b = weight_.packed_transposed}, x,
                                        weight_.value, logits);
  return logits;
}

Tensor TiledLoss::forward(Context& context, const Tensor& x, const Tensor& targets, double gradient_scale,
                          Stash* stash) const {
  const auto& algebra = context.kernels<LinearAlgebra>();
  const auto& loss = context.kernels<Loss>();
  const int64_t num_tokens = x.size(0);
  Tensor losses = context.empty({num_tokens}, context.accumulator_dtype());
  if (stash) stash->dx = context.empty(x.shape(), context.compute_dtype(), MemoryTag::kStash);
  for (int64_t begin = 0; begin < num_tokens; begin += tile_tokens_) {
    const int64_t end = std::min(begin + tile_tokens_, num_tokens);
    const Tensor tile_x = x.slice(0, begin, end), tile_targets = targets.slice(0, begin, end);
    const Tensor tile_losses = losses.slice(0, begin, end), tile_logits = logits(context, tile_x);
    if (!stash) {
      loss.cross_entropy(context, tile_logits, tile_targets, tile_losses);
      continue;
    }
    const Tensor dlogits = loss.gradient_over(context, tile_logits, context.compute_dtype());
    loss.cross_entropy_with_gradient(context, tile_logits, tile_targets, gradient_scale, tile_losses, dlogits);
    algebra.gemm(context, {.packed_b = weight_.packed}, dlogits, weight_.value, stash->dx.slice(0, begin, end));
    algebra.gemm(context, {.a = Transpose::kYes, .write = Write::kAccumulate}, dlogits, tile_x, weight_.gradient);
  }
  return losses;
}

}  // namespace longspan
