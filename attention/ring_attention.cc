#include "attention/ring_attention.h"

#include "attention/block_passes.h"
#include "core/kernels/elementwise.h"
#include "parallel/comm/ring_pass.h"

namespace longspan {

namespace {

// Shapes of the keys and values that each rank of the ring holds.
std::function<std::vector<Shape>(int)> shapes_of(const TileMap& tiles, const Tensor& k) {
  return [&tiles, num_heads = k.size(1), head_dim = k.size(2)](int owner) {
    const Shape shape = {tiles.num_keys(owner), num_heads, head_dim};
    return std::vector<Shape>{shape, shape};
  };
}

}  // namespace

Tensor RingAttention::do_forward(Context& context, const Tensor& q, const Tensor& k, const Tensor& v,
                                 const TileMap& tiles, AttentionStash* stash) const {
  ForwardPass pass(context, q, scale_, kept_in(stash));
  RingPass ring(context, ring_, {k, v}, shapes_of(tiles, k));
  for (const RingHop& hop : ring) pass.attend(hop.tensors[0], hop.tensors[1], tiles.keys_of(hop.owner), hop.index);
  Tensor output = pass.finish();
  if (stash) *stash = {.q = q, .k = k, .v = v, .output = output, .lse = pass.lse(), .parts = {}, .num_kv_heads = 0};
  return output;
}

QkvGradient RingAttention::do_backward(Context& context, const Tensor& doutput, const TileMap& tiles,
                                       AttentionStash& stash) const {
  BackwardPass pass(context, stash, doutput, scale_);
  const auto shapes = shapes_of(tiles, stash.k);
  RingPass ring(context, ring_, {stash.k, stash.v}, shapes);
  TravellingSum home(context, ring_, shapes, [&context](const Tensor& from, const Tensor& into) {
    context.kernels<Elementwise>().accumulate(context, from, into);
  });
  for (const RingHop& hop : ring) {
    home.add(pass.attend(hop.tensors[0], hop.tensors[1], tiles.keys_of(hop.owner), hop.index));
  }
  std::vector<Tensor> dkv = home.finish();
  return {.dq = pass.dq(), .dk = dkv[0], .dv = dkv[1]};
}

}  // namespace longspan
