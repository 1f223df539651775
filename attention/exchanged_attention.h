// Attention with exchanged heads (Jacobs et al. 2023, "DeepSpeed Ulysses"): inside a group of ranks, each gives the others its
// tokens of their heads, so that it has all the group's tokens for some heads; then it attends with them, across groups by any
// other scheme; and what comes out goes back the same way. Backward is the mirror image.
//   ALL_TO_ALL  one group; the whole sequence is attended to in one call of the kernel
//   HYBRID      groups of `inner` neighbouring ranks, rings across them (Fang and Zhao 2024, "USP")
// Per rank and direction, with n tokens a rank, P ranks in the group, H query heads and G key heads a rank's heads need, this
// moves about (P - 1) n (2 H / P + 2 G) head_dim elements, and what the scheme across groups moves of P n tokens and these heads.
// Everything travels in the compute dtype but dK and dV of key heads that several ranks have: the accumulator, summed at home.
#pragma once

#include <memory>

#include "attention/head_exchange.h"
#include "attention/sequence_attention.h"

namespace longspan {

class ExchangedAttention final : public SequenceAttention {
 public:
  // All ranks in one group. `scale` multiplies the scores.
  ExchangedAttention(Communicator& ranks, double scale);
  // `group`: neighbours in the layout; `across`: over the ranks with the same place in each group, in the order of groups.
  ExchangedAttention(std::unique_ptr<Communicator> group, std::unique_ptr<SequenceAttention> across);
  ~ExchangedAttention() override;
  int num_ranks() const override { return group_.size() * across_->num_ranks(); }

 private:
  Tensor do_forward(Context& context, const Tensor& q, const Tensor& k, const Tensor& v, const TileMap& tiles,
                    AttentionStash* stash) const override;
  QkvGradient do_backward(Context& context, const Tensor& doutput, const TileMap& tiles,
                          AttentionStash& stash) const override;

  std::unique_ptr<Communicator> owned_;
  Communicator& group_;
  std::unique_ptr<SequenceAttention> across_;
};

}  // namespace longspan
