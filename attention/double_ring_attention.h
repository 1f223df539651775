// Ring attention in two rings (Gu et al. 2024, "LoongTrain"): windows of neighbouring ranks, such as those of a host. Keys and
// values go round the window, hop by hop, while this rank's own are on their way to its like in the next window, a transfer that
// all the hops of a window hide. Every rank has its own way across, so that all network cards of a host are used at once.
//   round o of P / w, hop i of w: the keys of rank i hops back in this window's ring, of o windows back
// Moves K and V over P - 1 transfers as one ring does, but only P / w - 1 of them across; dK and dV over w transfers inside in
// each round and P / w across (none where there is one window, or a window has one rank).
#pragma once

#include <memory>

#include "attention/sequence_attention.h"
#include "parallel/comm/communicator.h"

namespace longspan {

class DoubleRingAttention final : public SequenceAttention {
 public:
  // `inside`: the ranks of a window; `across`: those with the same place in each window. Window by window, they are in the
  // layout's order. `scale` multiplies the scores.
  DoubleRingAttention(std::unique_ptr<Communicator> inside, std::unique_ptr<Communicator> across, double scale)
      : inside_(std::move(inside)), across_(std::move(across)), scale_(scale) {}
  int num_ranks() const override { return inside_->size() * across_->size(); }

 private:
  Tensor do_forward(Context& context, const Tensor& q, const Tensor& k, const Tensor& v, const TileMap& tiles,
                    AttentionStash* stash) const override;
  QkvGradient do_backward(Context& context, const Tensor& doutput, const TileMap& tiles,
                          AttentionStash& stash) const override;

  std::unique_ptr<Communicator> inside_, across_;
  double scale_;
};

}  // namespace longspan
