// AttentionLayer: projections, q/k norm (Qwen3), rotary embedding, attention across the ranks that share the sequence, output
// projection. The ranks of a tensor axis share its heads; they take and give pieces of tokens.
#pragma once

#include <optional>

#include "attention/prefix_attention.h"
#include "attention/sequence_attention.h"
#include "core/nn/rms_norm.h"
#include "model/model_spec.h"
#include "model/rope.h"
#include "parallel/tensor/repeated_heads.h"
#include "parallel/tensor/parallel_linear.h"

namespace longspan {

// What all layers need to know of one rank's share of a batch; made once per step.
struct SequenceShard {
  RotaryTable rotary;  // of this rank's tokens
  TileMap tiles;
  // Where the tokens are a chunk of their sequences, one of the tile map's ranks: what is kept of the others. Else null.
  std::shared_ptr<SequencePrefixes> prefixes = {};
};

// The groups of ranks that a model is spread over.
struct ModelAxes {
  const SequenceAttention& attention;  // across the ranks that share the sequence; made once, for all layers
  Communicator& tensor;                // share the weights; all have the same shard, and each a piece of its tokens
};

// What attention multiplies scores by.
double score_scale(const ModelSpec& spec);

// What a layer carries from one segment to the next: here the keys (rotated) and values of everything before.
struct SegmentMemory {
  Tensor k, v;             // [capacity, num_kv_heads, head_dim]
  int64_t num_tokens = 0;  // of them filled
};

struct AttentionParameters {
  const Parameter *q = nullptr, *k = nullptr, *v = nullptr, *o = nullptr;
  const Parameter *q_bias = nullptr, *k_bias = nullptr, *v_bias = nullptr;  // null: no bias
  const Parameter *q_norm = nullptr, *k_norm = nullptr;                     // null: no norm
};

class AttentionLayer {
 public:
  struct Stash {
    ColumnParallel::Stash qkv;
    RowParallel::Stash o;
    RmsNorm::Stash q_norm, k_norm;
    AttentionStash attention;
    template <class F>
    void for_each_storage(F visit) {
      qkv.for_each_storage(visit);
      o.for_each_storage(visit);
      for (RmsNorm::Stash* s : {&q_norm, &k_norm}) s->for_each_storage(visit);
      attention.for_each_storage(visit);
    }
  };
  AttentionLayer(const ModelSpec& spec, const AttentionParameters& parameters, const ModelAxes& axes);

  // x [tokens of this piece, hidden] -> the same shape. Collective over both axes.
  Tensor forward(Context& context, const Tensor& x, const SequenceShard& shard, Stash* stash) const;
  Tensor backward_input(Context& context, const Tensor& dy, const SequenceShard& shard, Stash& stash) const;
  void backward_weight(Context& context, Stash& stash) const;

  // x: the tokens right after those in `memory`, which takes them in. One rank; nothing is kept for a backward.
  Tensor continue_from(Context& context, const Tensor& x, const RotaryTable& rotary, SegmentMemory& memory) const;

 private:
  struct Qkv {
    Tensor q, k, v;
  };
  const SequenceAttention& attention_of(const SequenceShard& shard) const;
  Qkv project(Context& context, const Tensor& x, const RotaryTable& rotary, Stash* stash) const;

  ModelSpec spec_;
  RepeatedHeads repeated_;
  ColumnParallel qkv_;
  RowParallel o_;
  std::optional<RmsNorm> q_norm_, k_norm_;
  const SequenceAttention& attention_;
};

}  // namespace longspan
