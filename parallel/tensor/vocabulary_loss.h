// VocabularyLoss: TiledLoss whose head the ranks of a tensor axis share by entries of the vocabulary.
//
// A tile is a part of every rank's piece, so that it is gathered and its dx summed hop by hop like any product's: each rank has
// the logits [tile, entries held here], the parts of the softmax (core/kernels/loss.h) are gathered, 3 numbers a token and rank,
// and then every rank has the tile's losses and the gradients of its own logits.
//
// On an axis of one rank it is TiledLoss, to the bit and at its cost.
#pragma once

#include "core/nn/tiled_loss.h"
#include "parallel/tensor/pieces.h"

namespace longspan {

class VocabularyLoss {
 public:
  using Stash = TiledLoss::Stash;
  VocabularyLoss(Communicator& axis, const Parameter& weight, int64_t tile_tokens)
      : axis_(axis), weight_(weight), tile_tokens_(tile_tokens), whole_(weight, tile_tokens) {}

  // As TiledLoss, but x is this rank's piece. targets and losses are those of all tokens; the losses are the same on every rank.
  Tensor forward(Context& context, const Tensor& x, const Tensor& targets, double gradient_scale, Stash* stash) const;
  Tensor backward_input(Stash& stash) const { return whole_.backward_input(stash); }
  // On an axis of one rank only.
  Tensor logits(Context& context, const Tensor& x) const;

 private:
  struct Tile;
  enum class Keep { kNothing, kPieces };
  Tile gathered_tile(Context& context, const Tensor& x, const Tensor& targets, int64_t first, Keep keep) const;
  Tensor totals_of(Context& context, const Tile& tile, const Tensor& losses) const;
  void backward_tile(Context& context, const Tile& tile, const Tensor& dlogits, const Tensor& dx) const;
  int64_t tile_of_piece() const;  // tokens of each piece in a tile

  Communicator& axis_;
  const Parameter& weight_;  // [entries held here, hidden]
  int64_t tile_tokens_;
  TiledLoss whole_;  // where the axis has one rank
};

}  // namespace longspan
