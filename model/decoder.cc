#include "model/decoder.h"

#include <numeric>

#include "attention/ring_attention.h"
#include "parallel/comm/backends.h"

namespace longspan {

namespace {

constexpr const char* kTableName = "model.embed_tokens.weight";

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

Decoder::Decoder(const ModelSpec& spec, const ModelAxes& axes, int64_t loss_tile_tokens, const std::vector<int>& blocks)
    : spec_(spec), tensor_size_(axes.tensor.size()), tensor_rank_(axes.tensor.rank()) {
  validate(spec);
  DecoderParameters make(spec_, axes.tensor, parameters_);
  std::vector<int> held = blocks;
  if (held.empty()) {
    held.resize(static_cast<size_t>(num_blocks(spec)));
    std::iota(held.begin(), held.end(), 0);
  }
  blocks_.reserve(held.size());  // stages refer to them
  for (const int block : held) {
    parameters_.begin_block(block);
    if (block == 0) {
      table_ = &make.vocabulary_rows(kTableName);
      embedding_ = std::make_unique<VocabularyEmbedding>(axes.tensor, *table_);
      stage_.push_back(std::make_unique<EmbeddingStage>(*embedding_, microbatches_));
    } else if (block + 1 == num_blocks(spec)) {
      add_head(make, axes.tensor, loss_tile_tokens);
    } else {
      blocks_.emplace_back(spec, make.block(block - 1), axes);
      stage_.push_back(std::make_unique<BlockStage>(blocks_.back(), block - 1, microbatches_));
    }
  }
  const bool tied = spec.tie_embeddings == ModelSpec::Tie::kYes;
  if (tied && has_embedding() && !has_head()) half_of_tied_table_ = table_;
}

void Decoder::add_head(DecoderParameters& make, Communicator& tensor, int64_t loss_tile_tokens) {
  final_norm_ = std::make_unique<RmsNorm>(make.norm("model.norm.weight", spec_.hidden_size), spec_.norm_epsilon);
  Parameter* weight = table_;
  if (spec_.tie_embeddings == ModelSpec::Tie::kNo) {
    weight = &make.vocabulary_rows("lm_head.weight");
  } else if (!table_) {
    half_of_tied_table_ = weight = &make.vocabulary_rows(kTableName);
    weight->counted = Box::slice_of(weight->box.whole, 0, 0, 0);
  }
  weight->multiplies = true;
  weight->last_block = num_blocks(spec_) - 1;
  head_ = std::make_unique<VocabularyLoss>(tensor, *weight, loss_tile_tokens);
  stage_.push_back(std::make_unique<HeadStage>(*final_norm_, *head_, microbatches_));
}

struct Decoder::Alone {
  RingAttention attention;
  std::unique_ptr<Communicator> tensor = make_self_communicator();
};

Decoder::~Decoder() = default;

Decoder::Decoder(const ModelSpec& spec, std::unique_ptr<Alone> alone, int64_t loss_tile_tokens)
    : Decoder(spec, {.attention = alone->attention, .tensor = *alone->tensor}, loss_tile_tokens) {
  alone_ = std::move(alone);
}

Decoder::Decoder(const ModelSpec& spec, Communicator& ring, int64_t loss_tile_tokens)
    : Decoder(spec, std::unique_ptr<Alone>(new Alone{.attention = RingAttention(ring, score_scale(spec))}), loss_tile_tokens) {}

void Decoder::expect_all_blocks() const {
  check(static_cast<int>(stage_.size()) == num_blocks(spec_), "a rank with {} of the {} blocks of a model", stage_.size(),
        num_blocks(spec_));
}

Tensor Decoder::new_message(const Context& context, int microbatch) const {
  const int64_t num_tokens = microbatches_.at(static_cast<size_t>(microbatch)).shard.rotary.num_tokens();
  return context.empty({tensor_piece_of(num_tokens, tensor_size_, tensor_rank_).size(), spec_.hidden_size},
                       context.compute_dtype());
}

std::vector<SegmentMemory> Decoder::empty_memories(const Context& context, int64_t capacity_tokens) const {
  expect_all_blocks();
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
