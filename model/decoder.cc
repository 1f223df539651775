#include "model/decoder.h"

#include <numeric>

namespace longspan {

namespace {

// A layer's typed stash behind the executor's std::any.
template <class S>
S* typed(std::any* stash) {
  return stash ? &stash->emplace<S>() : nullptr;
}

class EmbeddingStage final : public StageBlock {
 public:
  EmbeddingStage(const TokenEmbedding& layer, const std::vector<Microbatch>& batches)
      : layer_(layer), batches_(batches) {}
  Tensor forward(Context& context, int microbatch, const Tensor&, std::any* stash) override {
    return layer_.forward(context, batches_.at(static_cast<size_t>(microbatch)).tokens,
                          typed<TokenEmbedding::Stash>(stash));
  }
  Tensor backward_input(Context&, int, const Tensor& dy, std::any& stash) override {
    layer_.backward_input(dy, std::any_cast<TokenEmbedding::Stash&>(stash));
    return {};
  }
  void backward_weight(Context& context, std::any& stash) override {
    layer_.backward_weight(context, std::any_cast<TokenEmbedding::Stash&>(stash));
  }

 private:
  const TokenEmbedding& layer_;
  const std::vector<Microbatch>& batches_;
};

class BlockStage final : public StageBlock {
 public:
  BlockStage(const DecoderBlock& layer, int number, const std::vector<Microbatch>& batches)
      : layer_(layer), number_(number), batches_(batches) {}
  int layer() const override { return number_; }
  Tensor forward(Context& context, int microbatch, const Tensor& x, std::any* stash) override {
    return layer_.forward(context, x, batches_.at(static_cast<size_t>(microbatch)).shard,
                          typed<DecoderBlock::Stash>(stash));
  }
  Tensor backward_input(Context& context, int microbatch, const Tensor& dy, std::any& stash) override {
    return layer_.backward_input(context, dy, batches_.at(static_cast<size_t>(microbatch)).shard,
                                 std::any_cast<DecoderBlock::Stash&>(stash));
  }
  void backward_weight(Context& context, std::any& stash) override {
    layer_.backward_weight(context, std::any_cast<DecoderBlock::Stash&>(stash));
  }

 private:
  const DecoderBlock& layer_;
  int number_;
  const std::vector<Microbatch>& batches_;
};

class HeadStage final : public StageBlock {
 public:
  HeadStage(const RmsNorm& norm, const TiledLoss& loss, std::vector<Microbatch>& batches)
      : norm_(norm), loss_(loss), batches_(batches) {}
  Tensor forward(Context& context, int microbatch, const Tensor& x, std::any* stash) override {
    Microbatch& batch = batches_.at(static_cast<size_t>(microbatch));
    Stash* s = typed<Stash>(stash);
    const Tensor normed = norm_.forward(context, x, s ? &s->norm : nullptr);
    batch.losses = loss_.forward(context, normed, batch.targets, batch.gradient_scale, s ? &s->loss : nullptr);
    return {};
  }
  Tensor backward_input(Context& context, int, const Tensor&, std::any& stash) override {
    auto& s = std::any_cast<Stash&>(stash);
    return norm_.backward_input(context, loss_.backward_input(s.loss), s.norm);
  }
  void backward_weight(Context& context, std::any& stash) override {
    norm_.backward_weight(context, std::any_cast<Stash&>(stash).norm);
  }

 private:
  struct Stash {
    RmsNorm::Stash norm;
    TiledLoss::Stash loss;
  };
  const RmsNorm& norm_;
  const TiledLoss& loss_;
  std::vector<Microbatch>& batches_;
};

}  // namespace

Decoder::Decoder(const ModelSpec& spec, Communicator& ring, int64_t loss_tile_tokens) : spec_(spec) {
  validate(spec);
  Parameter& table = parameters_.add("model.embed_tokens.weight", {spec.vocabulary_size, spec.hidden_size},
                                           Initialization::kNormal);
  embedding_ = std::make_unique<TokenEmbedding>(table);
  for (int64_t i = 0; i < spec.num_layers; ++i) blocks_.emplace_back(spec, add_block_parameters(i), ring);
  final_norm_ = std::make_unique<RmsNorm>(
      parameters_.add("model.norm.weight", {spec.hidden_size}, Initialization::kOnes), spec.norm_epsilon);
  Parameter& head = spec.tie_embeddings == ModelSpec::Tie::kYes
                              ? table
                              : parameters_.add("lm_head.weight", table.shape, Initialization::kNormal);
  head.multiplies = true;
  head_ = std::make_unique<TiledLoss>(head, loss_tile_tokens);

  stage_.push_back(std::make_unique<EmbeddingStage>(*embedding_, microbatches_));
  for (size_t i = 0; i < blocks_.size(); ++i) {
    stage_.push_back(std::make_unique<BlockStage>(blocks_[i], static_cast<int>(i), microbatches_));
  }
  stage_.push_back(std::make_unique<HeadStage>(*final_norm_, *head_, microbatches_));
}

DecoderBlockParameters Decoder::add_block_parameters(int64_t layer) {
  const std::string prefix = fmt::format("model.layers.{}.", layer);
  const auto matrix = [&](const char* name, int64_t out, int64_t in) {
    Parameter& added = parameters_.add(prefix + name + ".weight", {out, in}, Initialization::kNormal);
    added.multiplies = true;
    return &added;
  };
  const auto bias = [&](const char* name, int64_t out) {
    return spec_.bias == ModelSpec::Bias::kQkv
               ? &parameters_.add(prefix + name + ".bias", {out}, Initialization::kZeros)
               : nullptr;
  };
  const auto norm = [&](const char* name, int64_t size) {
    return &parameters_.add(prefix + name + ".weight", {size}, Initialization::kOnes);
  };
  const int64_t hidden = spec_.hidden_size, q = spec_.num_heads * spec_.head_dim, kv = spec_.num_kv_heads * spec_.head_dim;
  DecoderBlockParameters p;
  p.attention_norm = norm("input_layernorm", hidden);
  p.attention = {.q = matrix("self_attn.q_proj", q, hidden),
                 .k = matrix("self_attn.k_proj", kv, hidden),
                 .v = matrix("self_attn.v_proj", kv, hidden),
                 .o = matrix("self_attn.o_proj", hidden, q),
                 .q_bias = bias("self_attn.q_proj", q),
                 .k_bias = bias("self_attn.k_proj", kv),
                 .v_bias = bias("self_attn.v_proj", kv)};
  if (spec_.qk_norm == ModelSpec::QkNorm::kYes) {
    p.attention.q_norm = norm("self_attn.q_norm", spec_.head_dim);
    p.attention.k_norm = norm("self_attn.k_norm", spec_.head_dim);
  }
  p.mlp_norm = norm("post_attention_layernorm", hidden);
  p.gate = matrix("mlp.gate_proj", spec_.mlp_size, hidden);
  p.up = matrix("mlp.up_proj", spec_.mlp_size, hidden);
  p.down = matrix("mlp.down_proj", hidden, spec_.mlp_size);
  return p;
}

Tensor Decoder::losses(Context& context, const Microbatch& batch) const {
  Tensor x = embedding_->forward(context, batch.tokens, nullptr);
  for (const DecoderBlock& block : blocks_) x = block.forward(context, x, batch.shard, nullptr);
  return head_->forward(context, final_norm_->forward(context, x, nullptr), batch.targets, 0, nullptr);
}

std::vector<SegmentMemory> Decoder::empty_memories(const Context& context, int64_t capacity_tokens) const {
  const Shape shape = {capacity_tokens, spec_.num_kv_heads, spec_.head_dim};
  std::vector<SegmentMemory> memories(blocks_.size());
  for (SegmentMemory& memory : memories) {
    memory.k = context.empty(shape, context.compute_dtype());
    memory.v = context.empty(shape, context.compute_dtype());
  }
  return memories;
}

Tensor Decoder::continue_from(Context& context, const Tensor& tokens, std::vector<SegmentMemory>& memories) const {
  check(memories.size() == blocks_.size(), "{} memories for {} layers", memories.size(), blocks_.size());
  std::vector<int64_t> positions(static_cast<size_t>(tokens.size(0)));
  std::iota(positions.begin(), positions.end(), memories.front().num_tokens);
  const RotaryTable rotary = make_rotary_table(context, spec_.rope, spec_.head_dim, positions);
  Tensor x = embedding_->forward(context, tokens, nullptr);
  for (size_t i = 0; i < blocks_.size(); ++i) x = blocks_[i].continue_from(context, x, rotary, memories[i]);
  const Tensor last = final_norm_->forward(context, x.slice(0, x.size(0) - 1, x.size(0)), nullptr);
  return head_->logits(context, last).select(0, 0);
}

}  // namespace longspan
