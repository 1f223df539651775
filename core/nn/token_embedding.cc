#include "core/nn/token_embedding.h"

#include "core/kernels/embedding.h"

namespace longspan {

Tensor TokenEmbedding::forward(Context& context, const Tensor& tokens, Stash* stash) const {
  Tensor y = context.empty({tokens.size(0), table_.shape[1]}, context.compute_dtype(), kept_in(stash));
  context.kernels<Embedding>().gather(context, tokens, table_.value, y);
  if (stash) stash->tokens = tokens;
  return y;
}

void TokenEmbedding::backward_weight(Context& context, Stash& stash) const {
  context.kernels<Embedding>().scatter_add(context, stash.tokens, stash.dy, table_.gradient);
  stash = {};
}

}  // namespace longspan
