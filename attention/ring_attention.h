// Ring attention (Liu, Zaharia and Abbeel 2023): every rank of a ring holds a share of the sequence; keys and values travel
// round while each rank attends to what it holds of them, so that scores and the whole sequence exist nowhere.
//
// One loop serves every layout, document and mask: a hop is one call of the block kernel with the tile map's intervals.
//   forward   hop i: (O, LSE) takes in the keys of rank - i; moves K and V over P - 1 hops
//   backward  hop i: p is rebuilt from LSE, dQ accumulates here, dK and dV accumulate in fp32 in sums that travel one hop
//             behind the keys and end at home; moves K and V over P - 1 hops, dK and dV over P
// Partial outputs stay in the accumulator dtype between hops. Raises CommError when a peer fails.
#pragma once

#include <memory>

#include "attention/sequence_attention.h"
#include "parallel/comm/communicator.h"

namespace longspan {

class RingAttention final : public SequenceAttention {
 public:
  // `ring`: the ranks that share the sequence, in the layout's order. `scale` multiplies the scores.
  RingAttention(Communicator& ring, double scale) : ring_(ring), scale_(scale) {}
  RingAttention(std::unique_ptr<Communicator> ring, double scale) : own_(std::move(ring)), ring_(*own_), scale_(scale) {}
  int num_ranks() const override { return ring_.size(); }

 private:
  Tensor do_forward(Context& context, const Tensor& q, const Tensor& k, const Tensor& v, const TileMap& tiles,
                    AttentionStash* stash) const override;
  QkvGradient do_backward(Context& context, const Tensor& doutput, const TileMap& tiles,
                          AttentionStash& stash) const override;

  std::unique_ptr<Communicator> own_;  // null where the ring is another's
  Communicator& ring_;
  double scale_;
};

}  // namespace longspan
