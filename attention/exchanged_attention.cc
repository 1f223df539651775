#include "attention/exchanged_attention.h"

#include "attention/block_passes.h"
#include "attention/ring_attention.h"
#include "parallel/comm/backends.h"

namespace longspan {

ExchangedAttention::ExchangedAttention(Communicator& ranks, double scale)
    : group_(ranks), across_(std::make_unique<RingAttention>(make_self_communicator(), scale)) {}

ExchangedAttention::ExchangedAttention(std::unique_ptr<Communicator> group, std::unique_ptr<SequenceAttention> across)
    : owned_(std::move(group)), group_(*owned_), across_(std::move(across)) {}

ExchangedAttention::~ExchangedAttention() = default;

Tensor ExchangedAttention::do_forward(Context& context, const Tensor& q, const Tensor& k, const Tensor& v,
                                      const TileMap& tiles, AttentionStash* stash) const {
  const ExchangedHeads split = exchanged_heads(q.size(1), k.size(1), group_.size());
  const TileGroup& tokens = tiles.grouped(group_.size());
  const HeadGroup group{group_, tokens.places};
  std::vector<Tensor> qs, ks, vs, outputs;
  {
    HeadGather q_in(context, group, split.queries, q), k_in(context, group, split.keys, k),
        v_in(context, group, split.keys, v);
    qs = q_in.finish(kept_in(stash));
    ks = k_in.finish(kept_in(stash));
    vs = v_in.finish(kept_in(stash));
  }
  if (stash) {
    *stash = {};
    stash->parts.resize(qs.size());
    stash->num_kv_heads = k.size(1);
  }
  for (size_t i = 0; i < qs.size(); ++i) {
    outputs.push_back(across_->forward(context, qs[i], ks[i], vs[i], tokens.tiles, stash ? &stash->parts[i] : nullptr));
  }
  return HeadScatter(context, group, split.queries, outputs).finish();
}

QkvGradient ExchangedAttention::do_backward(Context& context, const Tensor& doutput, const TileMap& tiles,
                                            AttentionStash& stash) const {
  const ExchangedHeads split = exchanged_heads(doutput.size(1), stash.num_kv_heads, group_.size());
  const TileGroup& tokens = tiles.grouped(group_.size());
  const HeadGroup group{group_, tokens.places};
  std::vector<Tensor> doutputs = HeadGather(context, group, split.queries, doutput).finish(MemoryTag::kActivations);
  std::vector<Tensor> dqs, dks, dvs;
  for (size_t i = 0; i < doutputs.size(); ++i) {
    QkvGradient d = across_->backward_unrounded(context, doutputs[i], tokens.tiles, stash.parts[i]);
    doutputs[i] = {};
    dqs.push_back(to_compute_dtype(context, d.dq));
    // What is summed with others' is rounded after that.
    dks.push_back(split.replicated ? d.dk : to_compute_dtype(context, d.dk));
    dvs.push_back(split.replicated ? d.dv : to_compute_dtype(context, d.dv));
  }
  HeadScatter q_out(context, group, split.queries, dqs), k_out(context, group, split.keys, dks),
      v_out(context, group, split.keys, dvs);
  return {.dq = q_out.finish(), .dk = k_out.finish(), .dv = v_out.finish()};
}

}  // namespace longspan
