#include "model/decoder.h"

#include <numeric>

#include "model/decoder_parameters.h"
#include "parallel/comm/backends.h"

namespace longspan {

namespace {

// A layer's typed stash behind the executor's std::any.
template <class S>
S* typed(std::any* stash) {
  return stash ? &stash->emplace<S>() : nullptr;
}

class EmbeddingStage final : public StageBlock {
 public:
  EmbeddingStage(const VocabularyEmbedding& layer, const std::vector<Microbatch>& batches)
      : layer_(layer), batches_(batches) {}
  Tensor forward(Context& context, int microbatch, const Tensor&, std::any* stash) override {
    return layer_.forward(context, batches_.at(static_cast<size_t>(microbatch)).tokens,
                          typed<VocabularyEmbedding::Stash>(stash));
  }
  Tensor backward_input(Context&, int, const Tensor& dy, std::any& stash) override {
    layer_.backward_input(dy, std::any_cast<VocabularyEmbedding::Stash&>(stash));
    return {};
  }
  void backward_weight(Context& context, std::any& stash) override {
    layer_.backward_weight(context, std::any_cast<VocabularyEmbedding::Stash&>(stash));
  }

 private:
  const VocabularyEmbedding& layer_;
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
  HeadStage(const RmsNorm& norm, const VocabularyLoss& loss, std::vector<Microbatch>& batches)
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
    VocabularyLoss::Stash loss;
  };
  const RmsNorm& norm_;
  const VocabularyLoss& loss_;
  std::vector<Microbatch>& batches_;
};

}  // namespace

Decoder::Decoder(const ModelSpec& spec, const ModelAxes& axes, int64_t loss_tile_tokens) : spec_(spec) {
  validate(spec);
  DecoderParameters make(spec_, axes.tensor, parameters_);
  Parameter& table = make.vocabulary_rows("model.embed_tokens.weight");
  embedding_ = std::make_unique<VocabularyEmbedding>(axes.tensor, table);
  for (int64_t i = 0; i < spec.num_layers; ++i) {
    parameters_.begin_block(static_cast<int>(1 + i));
    blocks_.emplace_back(spec, make.block(i), axes);
  }
  const int last = static_cast<int>(1 + spec.num_layers);
  parameters_.begin_block(last);
  final_norm_ = std::make_unique<RmsNorm>(make.norm("model.norm.weight", spec.hidden_size), spec.norm_epsilon);
  Parameter& head = spec.tie_embeddings == ModelSpec::Tie::kYes ? table : make.vocabulary_rows("lm_head.weight");
  head.multiplies = true;
  head.last_block = last;
  head_ = std::make_unique<VocabularyLoss>(axes.tensor, head, loss_tile_tokens);

  stage_.push_back(std::make_unique<EmbeddingStage>(*embedding_, microbatches_));
  for (size_t i = 0; i < blocks_.size(); ++i) {
    stage_.push_back(std::make_unique<BlockStage>(blocks_[i], static_cast<int>(i), microbatches_));
  }
  stage_.push_back(std::make_unique<HeadStage>(*final_norm_, *head_, microbatches_));
}

Decoder::Decoder(const ModelSpec& spec, std::unique_ptr<Communicator> alone, Communicator& ring, int64_t loss_tile_tokens)
    : Decoder(spec, {.ring = ring, .tensor = *alone}, loss_tile_tokens) {
  alone_ = std::move(alone);
}

Decoder::Decoder(const ModelSpec& spec, Communicator& ring, int64_t loss_tile_tokens)
    : Decoder(spec, make_self_communicator(), ring, loss_tile_tokens) {}

Tensor Decoder::losses(Context& context, const Microbatch& batch) {
  check(microbatches_.empty(), "an evaluation between the {} microbatches of a step", microbatches_.size());
  microbatches_.push_back(batch);
  Tensor x;
  for (const auto& block : stage_) x = block->forward(context, 0, x, nullptr);
  Tensor losses = std::move(microbatches_.front().losses);
  microbatches_.clear();
  return losses;
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
