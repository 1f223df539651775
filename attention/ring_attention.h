// Ring attention (Liu, Zaharia and Abbeel 2023): every rank of a ring holds a share of the sequence; keys and values travel
// round while each rank attends to what it holds of them, so that scores and the whole sequence exist nowhere.
//
// One loop serves every layout, document and mask: a hop is one call of the block kernel with the tile map's intervals.
//   forward   hop i: (O, LSE) takes in the keys of rank - i; moves K and V over P - 1 hops
//   backward  hop i: p is rebuilt from LSE, dQ accumulates here, dK and dV accumulate in fp32 in sums that travel one hop
//             behind the keys and end at home; moves K and V over P - 1 hops, dK and dV over P
// Partial outputs stay in the accumulator dtype between hops. Raises CommError when a peer fails.
#pragma once

#include "attention/kernels/block_attention.h"
#include "attention/tile_map.h"
#include "parallel/comm/communicator.h"

namespace longspan {

// What the compute of a hop is called in a trace.
constexpr const char* kAttentionForward = "attention forward";
constexpr const char* kAttentionBackward = "attention backward";

struct AttentionStash {
  Tensor q, k, v;  // as given to forward
  Tensor output;   // [tokens, num_heads, head_dim], compute dtype
  Tensor lse;      // [num_heads, tokens], accumulator

  template <class F>
  void for_each_storage(F visit) {
    for (Tensor* t : {&q, &k, &v, &output, &lse}) visit(*t);
  }
};

struct QkvGradient {
  Tensor dq, dk, dv;  // compute dtype, assigned
};

class RingAttention {
 public:
  // `ring`: the ranks that share the sequence, in the layout's order. `scale` multiplies the scores.
  RingAttention(Communicator& ring, double scale) : ring_(ring), scale_(scale) {}

  // q [tokens, num_heads, head_dim]; k, v [tokens, num_kv_heads, head_dim]; returns [tokens, num_heads, head_dim].
  Tensor forward(Context& context, const Tensor& q, const Tensor& k, const Tensor& v, const TileMap& tiles,
                 AttentionStash* stash) const;
  // Consumes the stash.
  QkvGradient backward(Context& context, const Tensor& doutput, const TileMap& tiles, AttentionStash& stash) const;

 private:
  Communicator& ring_;
  double scale_;
};

}  // namespace longspan
