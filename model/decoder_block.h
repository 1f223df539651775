// DecoderBlock: h = x + attention(norm(x)); y = h + mlp(norm(h)).
#pragma once

#include "model/attention_layer.h"
#include "model/swiglu_mlp.h"

namespace longspan {

struct DecoderBlockParameters {
  AttentionParameters attention;
  const Parameter *attention_norm = nullptr, *mlp_norm = nullptr, *gate = nullptr, *up = nullptr, *down = nullptr;
};

class DecoderBlock {
 public:
  struct Stash {
    RmsNorm::Stash attention_norm, mlp_norm;
    AttentionLayer::Stash attention;
    SwigluMlp::Stash mlp;
    template <class F>
    void for_each_storage(F visit) {
      attention_norm.for_each_storage(visit);
      mlp_norm.for_each_storage(visit);
      attention.for_each_storage(visit);
      mlp.for_each_storage(visit);
    }
  };
  DecoderBlock(const ModelSpec& spec, const DecoderBlockParameters& parameters, const ModelAxes& axes);

  // x [tokens of this piece, hidden] -> the same shape. Collective over both axes.
  Tensor forward(Context& context, const Tensor& x, const SequenceShard& shard, Stash* stash) const;
  Tensor backward_input(Context& context, const Tensor& dy, const SequenceShard& shard, Stash& stash) const;
  void backward_weight(Context& context, Stash& stash) const;
  Tensor continue_from(Context& context, const Tensor& x, const RotaryTable& rotary, SegmentMemory& memory) const;

 private:
  Tensor add_mlp(Context& context, const Tensor& x, const Tensor& h, int64_t num_tokens, Stash* stash) const;

  RmsNorm attention_norm_, mlp_norm_;
  AttentionLayer attention_;
  SwigluMlp mlp_;
};

}  // namespace longspan
