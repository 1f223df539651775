#include "model/decoder_block.h"

#include "core/kernels/elementwise.h"

namespace longspan {

DecoderBlock::DecoderBlock(const ModelSpec& spec, const DecoderBlockParameters& p, const ModelAxes& axes)
    : attention_norm_(*p.attention_norm, spec.norm_epsilon),
      mlp_norm_(*p.mlp_norm, spec.norm_epsilon),
      attention_(spec, p.attention, axes),
      mlp_(axes.tensor, *p.gate, *p.up, *p.down) {}

Tensor DecoderBlock::forward(Context& context, const Tensor& x, const SequenceShard& shard, Stash* stash) const {
  const Tensor normed = attention_norm_.forward(context, x, stash ? &stash->attention_norm : nullptr);
  const Tensor h = attention_.forward(context, normed, shard, stash ? &stash->attention : nullptr);
  return add_mlp(context, x, h, shard.rotary.num_tokens(), stash);
}

// h, the output of attention, becomes h + x.
Tensor DecoderBlock::add_mlp(Context& context, const Tensor& x, const Tensor& h, int64_t num_tokens, Stash* stash) const {
  const Tensor normed = mlp_norm_.forward(context, h, x, h, stash ? &stash->mlp_norm : nullptr);
  Tensor y = mlp_.forward(context, normed, num_tokens, stash ? &stash->mlp : nullptr);
  context.kernels<Elementwise>().add(context, h, y, y);
  return y;
}

Tensor DecoderBlock::backward_input(Context& context, const Tensor& dy, const SequenceShard& shard,
                                    Stash& stash) const {
  const Tensor dh =
      mlp_norm_.backward_input(context, mlp_.backward_input(context, dy, stash.mlp), dy, stash.mlp_norm);
  const Tensor dnormed = attention_.backward_input(context, dh, shard, stash.attention);
  return attention_norm_.backward_input(context, dnormed, dh, stash.attention_norm);
}

void DecoderBlock::backward_weight(Context& context, Stash& stash) const {
  mlp_.backward_weight(context, stash.mlp);
  mlp_norm_.backward_weight(context, stash.mlp_norm);
  attention_.backward_weight(context, stash.attention);
  attention_norm_.backward_weight(context, stash.attention_norm);
  stash = {};
}

Tensor DecoderBlock::continue_from(Context& context, const Tensor& x, const RotaryTable& rotary,
                                   SegmentMemory& memory) const {
  const Tensor h = attention_.continue_from(context, attention_norm_.forward(context, x, nullptr), rotary, memory);
  return add_mlp(context, x, h, rotary.num_tokens(), nullptr);
}

}  // namespace longspan
