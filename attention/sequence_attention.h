// SequenceAttention: exact attention over a sequence that several ranks hold shares of. Each scheme moves something else, and
// all give the same result, so that a layer holds one without knowing which:
//   RingAttention        keys and values go round, a hop at a time
//   DoubleRingAttention  the same in two rings, one inside a host and one across
//   GatheredAttention    every rank gathers all keys and values, some heads at a time
//   ExchangedAttention   tokens of some heads for heads of some tokens (all-to-all), and any of the others for the rest
// Collective over the ranks that share the sequence. Raises CommError when a peer fails.
#pragma once

#include <vector>

#include "attention/tile_map.h"
#include "core/runtime/context.h"

namespace longspan {

// What the compute of a hop is called in a trace.
constexpr const char* kAttentionForward = "attention forward";
constexpr const char* kAttentionBackward = "attention backward";

struct AttentionStash {
  Tensor q, k, v;  // what was attended with
  Tensor output;   // [tokens, num_heads, head_dim], compute dtype
  Tensor lse;      // [num_heads, tokens], accumulator
  // Of exchanged heads: instead of the above, one for each of the rank's parts.
  std::vector<AttentionStash> parts;
  int64_t num_kv_heads = 0;  // of which the parts have some

  template <class F>
  void for_each_storage(F visit) {
    for (Tensor* t : {&q, &k, &v, &output, &lse}) visit(*t);
    for (AttentionStash& part : parts) part.for_each_storage(visit);
  }
};

struct QkvGradient {
  Tensor dq, dk, dv;  // compute dtype, assigned
};

// The tensor itself where it has the compute dtype already.
Tensor to_compute_dtype(Context& context, const Tensor& x, MemoryTag tag = MemoryTag::kActivations);

class SequenceAttention {
 public:
  virtual ~SequenceAttention() = default;

  // q [tokens, num_heads, head_dim]; k, v [tokens, num_kv_heads, head_dim]; returns [tokens, num_heads, head_dim]. The tokens
  // are this rank's share in the tile map, in order of index.
  Tensor forward(Context& context, const Tensor& q, const Tensor& k, const Tensor& v, const TileMap& tiles,
                 AttentionStash* stash) const;
  // Consumes the stash.
  QkvGradient backward(Context& context, const Tensor& doutput, const TileMap& tiles, AttentionStash& stash) const;
  // The same for those who go on summing: each gradient in the accumulator, or in the compute dtype where it was rounded already.
  QkvGradient backward_unrounded(Context& context, const Tensor& doutput, const TileMap& tiles, AttentionStash& stash) const;
  // How many ranks share the sequence.
  virtual int num_ranks() const = 0;

 private:
  virtual Tensor do_forward(Context& context, const Tensor& q, const Tensor& k, const Tensor& v, const TileMap& tiles,
                            AttentionStash* stash) const = 0;
  virtual QkvGradient do_backward(Context& context, const Tensor& doutput, const TileMap& tiles,
                                  AttentionStash& stash) const = 0;
};

}  // namespace longspan
