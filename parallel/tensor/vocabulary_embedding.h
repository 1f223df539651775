// VocabularyEmbedding: TokenEmbedding whose table the ranks of a tensor axis share by entries of the vocabulary. Each looks up
// what it holds, and sums to pieces bring each token's row, which one rank has, to the rank whose piece the token is in. The
// gradients of the pieces go round, and each rank adds those of its own entries, in a fixed order.
//
// On an axis of one rank it is TokenEmbedding, to the bit and at its cost.
#pragma once

#include "core/nn/token_embedding.h"
#include "parallel/tensor/pieces.h"

namespace longspan {

class VocabularyEmbedding {
 public:
  using Stash = TokenEmbedding::Stash;
  VocabularyEmbedding(Communicator& axis, const Parameter& table) : axis_(axis), table_(table), whole_(table) {}

  // tokens int32 [tokens], all of them on every rank -> [tokens of this piece, hidden]
  Tensor forward(Context& context, const Tensor& tokens, Stash* stash) const;
  void backward_input(const Tensor& dy, Stash& stash) const { stash.dy = dy; }
  void backward_weight(Context& context, Stash& stash) const;

 private:
  Communicator& axis_;
  const Parameter& table_;
  TokenEmbedding whole_;  // where the axis has one rank
};

}  // namespace longspan
