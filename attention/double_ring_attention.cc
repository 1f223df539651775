#include "attention/double_ring_attention.h"

#include "attention/block_passes.h"
#include "core/kernels/elementwise.h"
#include "parallel/comm/ring_pass.h"

namespace longspan {

namespace {

using ShapesOf = std::function<std::vector<Shape>(int)>;

// Shapes of the keys and values of the ranks of a double ring.
struct DoubleRingShapes {
  const TileMap& tiles;
  int window;  // ranks in one
  int64_t num_heads, head_dim;

  std::vector<Shape> of(int rank) const {
    const Shape shape = {tiles.num_keys(rank), num_heads, head_dim};
    return {shape, shape};
  }
  ShapesOf inside(int window_index) const {
    return [*this, window_index](int place) { return of(window_index * window + place); };
  }
  ShapesOf across(int place) const {
    return [*this, place](int window_index) { return of(window_index * window + place); };
  }
};

}  // namespace

Tensor DoubleRingAttention::do_forward(Context& context, const Tensor& q, const Tensor& k, const Tensor& v,
                                       const TileMap& tiles, AttentionStash* stash) const {
  const DoubleRingShapes shapes{tiles, inside_->size(), k.size(1), k.size(2)};
  ForwardPass pass(context, q, scale_, kept_in(stash));
  RingPass windows(context, *across_, {k, v}, shapes.across(inside_->rank()));
  for (const RingHop& round : windows) {
    RingPass ring(context, *inside_, round.tensors, shapes.inside(round.owner));
    for (const RingHop& hop : ring) {
      pass.attend(hop.tensors[0], hop.tensors[1], tiles.keys_of(round.owner * shapes.window + hop.owner),
                  round.index * shapes.window + hop.index);
    }
  }
  Tensor output = pass.finish();
  if (stash) {
    *stash = {.q = q, .k = k, .v = v, .output = output, .lse = pass.lse(), .parts = {}, .num_kv_heads = 0};
  }
  return output;
}

QkvGradient DoubleRingAttention::do_backward(Context& context, const Tensor& doutput, const TileMap& tiles,
                                             AttentionStash& stash) const {
  const DoubleRingShapes shapes{tiles, inside_->size(), stash.k.size(1), stash.k.size(2)};
  const auto accumulate = [&context](const Tensor& from, const Tensor& into) {
    context.kernels<Elementwise>().accumulate(context, from, into);
  };
  BackwardPass pass(context, stash, doutput, scale_);
  RingPass windows(context, *across_, {stash.k, stash.v}, shapes.across(inside_->rank()));
  // What a window adds to the gradients of another's keys is summed there, at the rank that they came to, and goes on from it.
  TravellingSum home(context, *across_, shapes.across(inside_->rank()), accumulate);
  for (const RingHop& round : windows) {
    RingPass ring(context, *inside_, round.tensors, shapes.inside(round.owner));
    TravellingSum in_window(context, *inside_, shapes.inside(round.owner), accumulate);
    for (const RingHop& hop : ring) {
      in_window.add(pass.attend(hop.tensors[0], hop.tensors[1], tiles.keys_of(round.owner * shapes.window + hop.owner),
                                round.index * shapes.window + hop.index));
    }
    home.add(in_window.finish());
  }
  std::vector<Tensor> dkv = home.finish();
  return {.dq = pass.dq(), .dk = dkv[0], .dv = dkv[1]};
}

}  // namespace longspan
