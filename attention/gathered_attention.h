// Attention with gathered keys (Llama 3, section 3.3.2): a rank's queries stay, and it gathers the keys and values of all ranks,
// a set of key heads at a time, the next set under way while it attends with this one. In backward they are gathered again, and
// the gradients of a set go home to be summed, in the order of ranks, while the next set is computed.
//
// With n tokens a rank, P ranks and G key heads, a rank receives in forward 2 (P - 1) n G head_dim elements of the compute dtype,
// and in backward as many again and as many of the accumulator. Beyond its own it holds two sets of keys of the whole sequence,
// and in backward a set of gradients with the messages they are sent in.
#pragma once

#include "attention/sequence_attention.h"
#include "parallel/comm/communicator.h"

namespace longspan {

class GatheredAttention final : public SequenceAttention {
 public:
  // `scale` multiplies the scores; `kv_heads_at_once`: of a set.
  GatheredAttention(Communicator& ranks, double scale, int64_t kv_heads_at_once = 1);
  int num_ranks() const override { return ranks_.size(); }

 private:
  Tensor do_forward(Context& context, const Tensor& q, const Tensor& k, const Tensor& v, const TileMap& tiles,
                    AttentionStash* stash) const override;
  QkvGradient do_backward(Context& context, const Tensor& doutput, const TileMap& tiles,
                          AttentionStash& stash) const override;

  Communicator& ranks_;
  double scale_;
  int64_t kv_heads_at_once_;
};

}  // namespace longspan
