#include "attention/ring_attention.h"

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

Tensor converted(Context& context, const Tensor& x, MemoryTag tag = MemoryTag::kActivations) {
  if (x.dtype() == context.compute_dtype()) return x;
  Tensor y = context.empty(x.shape(), context.compute_dtype(), tag);
  context.kernels<Elementwise>().convert(context, x, y);
  return y;
}

}  // namespace

Tensor RingAttention::forward(Context& context, const Tensor& q, const Tensor& k, const Tensor& v,
                              const TileMap& tiles, AttentionStash* stash) const {
  check(tiles.num_ranks() == ring_.size(), "a tile map of {} ranks on a ring of {}", tiles.num_ranks(), ring_.size());
  expect_shape(k, {tiles.num_keys(ring_.rank()), k.size(1), q.size(2)}, "k");
  expect_shape(v, k.shape(), "v");
  const auto& kernel = context.kernels<BlockAttention>();
  const AttentionState state = kernel.initial_state(context, q.size(0), q.size(1), q.size(2), kept_in(stash));
  RingPass ring(context, ring_, {k, v}, shapes_of(tiles, k));
  for (const RingHop& hop : ring) {
    const KeyIntervals& visible = tiles.keys_of(hop.owner);
    if (visible.empty()) continue;
    const TraceRange range(context.tracer(), TimeCategory::kCompute, kAttentionForward, {.hop = hop.index});
    kernel.forward(context, {.q = q, .k = hop.tensors[0], .v = hop.tensors[1], .visible = &visible, .scale = scale_},
                   state);
  }
  Tensor output = converted(context, state.output, kept_in(stash));
  if (stash) *stash = {.q = q, .k = k, .v = v, .output = output, .lse = state.lse};
  return output;
}

QkvGradient RingAttention::backward(Context& context, const Tensor& doutput, const TileMap& tiles,
                                    AttentionStash& stash) const {
  const auto& kernel = context.kernels<BlockAttention>();
  const Tensor q = stash.q, k = stash.k, v = stash.v;
  const DType dtype = context.accumulator_dtype();
  AttentionGradient gradient;
  gradient.doutput = doutput;
  gradient.lse = stash.lse;
  gradient.delta = context.empty(stash.lse.shape(), dtype, MemoryTag::kWorkspace);
  kernel.delta(context, stash.output, doutput, gradient.delta);
  gradient.dq = context.zeros(q.shape(), dtype);

  const auto shapes = shapes_of(tiles, k);
  RingPass ring(context, ring_, {k, v}, shapes);
  TravellingSum home(context, ring_, shapes, [&context](const Tensor& from, const Tensor& into) {
    context.kernels<Elementwise>().accumulate(context, from, into);
  });
  for (const RingHop& hop : ring) {
    const KeyIntervals& visible = tiles.keys_of(hop.owner);
    gradient.dk = context.zeros(hop.tensors[0].shape(), dtype, MemoryTag::kCommunication);
    gradient.dv = context.zeros(hop.tensors[1].shape(), dtype, MemoryTag::kCommunication);
    if (!visible.empty()) {
      const TraceRange range(context.tracer(), TimeCategory::kCompute, kAttentionBackward, {.hop = hop.index});
      kernel.backward(context,
                      {.q = q, .k = hop.tensors[0], .v = hop.tensors[1], .visible = &visible, .scale = scale_},
                      gradient);
    }
    home.add({std::move(gradient.dk), std::move(gradient.dv)});
  }
  std::vector<Tensor> dkv = home.finish();
  stash = {};
  return {.dq = converted(context, gradient.dq),
          .dk = converted(context, dkv[0]),
          .dv = converted(context, dkv[1])};
}

}  // namespace longspan
