#include "attention/sequence_attention.h"

namespace longspan {

namespace {

void check_map(const SequenceAttention& attention, const TileMap& tiles) {
  check(tiles.num_ranks() == attention.num_ranks(), "a tile map of {} ranks for attention over {}", tiles.num_ranks(),
        attention.num_ranks());
}

}  // namespace

Tensor SequenceAttention::forward(Context& context, const Tensor& q, const Tensor& k, const Tensor& v,
                                  const TileMap& tiles, AttentionStash* stash) const {
  check_map(*this, tiles);
  expect_shape(q, {tiles.num_queries(), q.size(1), q.size(2)}, "q");
  expect_shape(k, {tiles.num_queries(), k.size(1), q.size(2)}, "k");
  expect_shape(v, k.shape(), "v");
  return do_forward(context, q, k, v, tiles, stash);
}

QkvGradient SequenceAttention::backward(Context& context, const Tensor& doutput, const TileMap& tiles,
                                        AttentionStash& stash) const {
  check_map(*this, tiles);
  QkvGradient gradient = do_backward(context, doutput, tiles, stash);
  stash = {};
  return gradient;
}

}  // namespace longspan
