#include "model/attention_layer.h"

#include <cmath>

#include "attention/kernels/block_attention.h"
#include "core/kernels/elementwise.h"
#include "core/kernels/rotary.h"

namespace longspan {

namespace {

// Per head: [tokens, heads, head_dim] as rows of head_dim.
Tensor by_rows(const Tensor& x) { return x.reshape({x.size(0) * x.size(1), x.size(2)}); }

}  // namespace

double score_scale(const ModelSpec& spec) { return 1 / std::sqrt(static_cast<double>(spec.head_dim)); }

AttentionLayer::AttentionLayer(const ModelSpec& spec, const AttentionParameters& p, const ModelAxes& axes)
    : spec_(spec),
      repeated_(split_heads(spec.num_heads, spec.num_kv_heads, axes.tensor.size(), axes.tensor.rank())),
      qkv_(axes.tensor, {Linear(*p.q, p.q_bias), Linear(*p.k, p.k_bias), Linear(*p.v, p.v_bias)}),
      o_(axes.tensor, *p.o),
      attention_(axes.attention) {
  if (p.q_norm) q_norm_.emplace(*p.q_norm, spec.norm_epsilon);
  if (p.k_norm) k_norm_.emplace(*p.k_norm, spec.norm_epsilon);
}

AttentionLayer::Qkv AttentionLayer::project(Context& context, const Tensor& x, const RotaryTable& rotary,
                                            Stash* stash) const {
  const int64_t num_tokens = rotary.num_tokens();
  const auto heads = [&](const Tensor& y, int64_t n) { return y.reshape({num_tokens, n, spec_.head_dim}); };
  Qkv out;
  {
    const std::vector<Tensor> flat = qkv_.forward(context, x, num_tokens, stash ? &stash->qkv : nullptr);
    const HeadSplit& split = repeated_.split();
    out = {.q = heads(flat[0], split.q.size()), .k = heads(flat[1], split.kv.size()), .v = heads(flat[2], split.kv.size())};
  }
  if (q_norm_) {
    out.q = q_norm_->forward(context, by_rows(out.q), stash ? &stash->q_norm : nullptr).reshape(out.q.shape());
  }
  if (k_norm_) {
    out.k = k_norm_->forward(context, by_rows(out.k), stash ? &stash->k_norm : nullptr).reshape(out.k.shape());
  }
  const auto& kernel = context.kernels<Rotary>();
  kernel.rotate(context, RotaryDirection::kForward, rotary.cosine, rotary.sine, out.q);
  kernel.rotate(context, RotaryDirection::kForward, rotary.cosine, rotary.sine, out.k);
  for (Tensor* heads_of : {&out.k, &out.v}) *heads_of = repeated_.repeat(context, *heads_of, kept_in(stash));
  return out;
}

const SequenceAttention& AttentionLayer::attention_of(const SequenceShard& shard) const {
  return shard.prefixes ? shard.prefixes->of(this, score_scale(spec_)) : attention_;
}

Tensor AttentionLayer::forward(Context& context, const Tensor& x, const SequenceShard& shard, Stash* stash) const {
  const Qkv in = project(context, x, shard.rotary, stash);
  const Tensor y = attention_of(shard).forward(context, in.q, in.k, in.v, shard.tiles, stash ? &stash->attention : nullptr);
  return o_.forward(context, y.reshape({y.size(0), repeated_.split().q.size() * spec_.head_dim}), stash ? &stash->o : nullptr);
}

Tensor AttentionLayer::backward_input(Context& context, const Tensor& dy, const SequenceShard& shard,
                                      Stash& stash) const {
  const int64_t num_tokens = shard.rotary.num_tokens();
  const Tensor doutput =
      o_.backward_input(context, dy, stash.o).reshape({num_tokens, repeated_.split().q.size(), spec_.head_dim});
  QkvGradient d = attention_of(shard).backward_unrounded(context, doutput, shard.tiles, stash.attention);
  d.dq = to_compute_dtype(context, d.dq);
  // What was repeated is summed before it is rounded.
  for (Tensor* d_of : {&d.dk, &d.dv}) *d_of = to_compute_dtype(context, repeated_.sum(context, *d_of));
  const auto& kernel = context.kernels<Rotary>();
  kernel.rotate(context, RotaryDirection::kInverse, shard.rotary.cosine, shard.rotary.sine, d.dq);
  kernel.rotate(context, RotaryDirection::kInverse, shard.rotary.cosine, shard.rotary.sine, d.dk);
  if (q_norm_) d.dq = q_norm_->backward_input(context, by_rows(d.dq), stash.q_norm);
  if (k_norm_) d.dk = k_norm_->backward_input(context, by_rows(d.dk), stash.k_norm);
  const auto flat = [&](const Tensor& t, int64_t num_heads) { return t.reshape({num_tokens, num_heads * spec_.head_dim}); };
  const HeadSplit& split = repeated_.split();
  return qkv_.backward_input(
      context, {flat(d.dq, split.q.size()), flat(d.dk, split.kv.size()), flat(d.dv, split.kv.size())}, stash.qkv);
}

void AttentionLayer::backward_weight(Context& context, Stash& stash) const {
  qkv_.backward_weight(context, stash.qkv);
  o_.backward_weight(context, stash.o);
  if (q_norm_) q_norm_->backward_weight(context, stash.q_norm);
  if (k_norm_) k_norm_->backward_weight(context, stash.k_norm);
  stash = {};
}

Tensor AttentionLayer::continue_from(Context& context, const Tensor& x, const RotaryTable& rotary,
                                     SegmentMemory& memory) const {
  const int64_t held = repeated_.split().q.size();
  check(held == spec_.num_heads, "a memory of all heads on a rank that has {} of {}", held, spec_.num_heads);
  const Qkv in = project(context, x, rotary, nullptr);
  const int64_t before = memory.num_tokens, after = before + x.size(0);
  check(after <= memory.k.size(0), "{} tokens do not fit into a memory of {}", after, memory.k.size(0));
  context.copy(in.k, memory.k.slice(0, before, after));
  context.copy(in.v, memory.v.slice(0, before, after));
  memory.num_tokens = after;

  std::vector<IndexInterval> visible;
  for (int64_t i = before; i < after; ++i) visible.push_back({.begin = 0, .end = i + 1});
  const KeyIntervals intervals(visible, {{.start = 0, .stride = 1, .length = after}});
  const auto& kernel = context.kernels<BlockAttention>();
  const AttentionState state = kernel.initial_state(context, x.size(0), spec_.num_heads, spec_.head_dim);
  kernel.forward(context,
                 {.q = in.q,
                  .k = memory.k.slice(0, 0, after),
                  .v = memory.v.slice(0, 0, after),
                  .visible = &intervals,
                  .scale = score_scale(spec_)},
                 state);
  Tensor output = state.output;
  if (output.dtype() != context.compute_dtype()) {
    output = context.empty(output.shape(), context.compute_dtype());
    context.kernels<Elementwise>().convert(context, state.output, output);
  }
  return o_.forward(context, output.reshape({x.size(0), spec_.num_heads * spec_.head_dim}), nullptr);
}

}  // namespace longspan
