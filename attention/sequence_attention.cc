#include "attention/sequence_attention.h"

#include "core/kernels/elementwise.h"

namespace longspan {

namespace {

void check_map(const SequenceAttention& attention, const TileMap& tiles) {
  check(tiles.num_ranks() == attention.num_ranks(), "a tile map of {} ranks for attention over {}", tiles.num_ranks(),
        attention.num_ranks());
}

}  // namespace

Tensor to_compute_dtype(Context& context, const Tensor& x, MemoryTag tag) {
  if (x.dtype() == context.compute_dtype()) return x;
  Tensor y = context.empty(x.shape(), context.compute_dtype(), tag);
  context.kernels<Elementwise>().convert(context, x, y);
  return y;
}

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
  QkvGradient gradient = backward_unrounded(context, doutput, tiles, stash);
  for (Tensor* d : {&gradient.dq, &gradient.dk, &gradient.dv}) *d = to_compute_dtype(context, *d);
  return gradient;
}

QkvGradient SequenceAttention::backward_unrounded(Context& context, const Tensor& doutput, const TileMap& tiles,
                                                  AttentionStash& stash) const {
  check_map(*this, tiles);
  QkvGradient gradient = do_backward(context, doutput, tiles, stash);
  stash = {};
  return gradient;
}

}  // namespace longspan
