// Decoder: the model, or the blocks of it that a rank of a pipeline holds: parameters under their Hugging Face names, and the
// stage (embedding, layers, head) that the executor runs. Microbatches are handed in before a step, on every rank of a pipeline
// the same; their losses are read from them after, where the head is.
//
// Blocks are numbered as in the chain of the model: 0 is the embedding, 1 + i layer i, the last one the head. Where a tied table
// is on two ranks of a pipeline, it counts on that of the embedding; model/tied_table.h sums its gradients.
//
// On a tensor axis of several ranks each has its part of the parameters (model/decoder_parameters.h) and the same microbatches;
// blocks take and give its piece of the tokens. What of its gradients is of the axis's sum is said by the parameters; the caller
// sums it (parallel/tensor/shared_gradients.h).
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "model/decoder_parameters.h"
#include "parallel/pipeline/stage_block.h"
#include "parallel/tensor/vocabulary_embedding.h"
#include "parallel/tensor/vocabulary_loss.h"

namespace longspan {

// One rank's share of a microbatch.
struct Microbatch {
  Tensor tokens;   // int32 [tokens]
  Tensor targets;  // int32 [tokens]; kNoTarget where nothing is predicted
  int64_t num_predicted = 0;
  int64_t num_pairs = 0;   // of its queries and the keys that they see
  std::shared_ptr<const SequenceLayout> layout = {};  // which tokens are whose; not needed by the decoder
  SequenceShard shard;
  double gradient_scale = 0;  // 1 / predicted tokens of the global batch
  Tensor losses;   // [tokens], accumulator; written by forward of the head
};

class Decoder {
 public:
  // `blocks`: those that this rank holds, in the order of the model; none: all of them.
  Decoder(const ModelSpec& spec, const ModelAxes& axes, int64_t loss_tile_tokens, const std::vector<int>& blocks = {});
  // All of it, over a ring, without a tensor axis.
  Decoder(const ModelSpec& spec, Communicator& ring, int64_t loss_tile_tokens);
  Decoder(const Decoder&) = delete;  // the stage refers to the members
  Decoder& operator=(const Decoder&) = delete;
  ~Decoder();

  bool has_embedding() const { return embedding_ != nullptr; }
  bool has_head() const { return head_ != nullptr; }
  // The tied table, where this rank has it for the embedding or the head alone; else null.
  Parameter* half_of_tied_table() const { return half_of_tied_table_; }

  const ModelSpec& spec() const { return spec_; }
  ParameterSet& parameters() { return parameters_; }
  const ParameterSet& parameters() const { return parameters_; }
  // Blocks read the microbatches by number.
  std::vector<Microbatch>& microbatches() { return microbatches_; }
  Stage& stage() { return stage_; }

  // For what comes from another rank of the pipeline: an activation, or the gradient by one, of this microbatch.
  Tensor new_message(const Context& context, int microbatch) const;

  // Tokens after those in the memories (one per layer), on one rank of every axis; returns the logits after the last one,
  // [vocabulary], accumulator.
  std::vector<SegmentMemory> empty_memories(const Context& context, int64_t capacity_tokens) const;
  Tensor continue_from(Context& context, const Tensor& tokens, std::vector<SegmentMemory>& memories) const;

 private:
  struct Alone;
  Decoder(const ModelSpec& spec, std::unique_ptr<Alone> alone, int64_t loss_tile_tokens);
  void add_head(DecoderParameters& make, Communicator& tensor, int64_t loss_tile_tokens);
  void expect_all_blocks() const;

  std::unique_ptr<const Alone> alone_;  // what there is instead of axes, where none were given
  ModelSpec spec_;
  int tensor_size_, tensor_rank_;
  ParameterSet parameters_;
  std::vector<Microbatch> microbatches_;
  Parameter* table_ = nullptr;  // with the embedding
  Parameter* half_of_tied_table_ = nullptr;
  std::unique_ptr<VocabularyEmbedding> embedding_;
  std::vector<DecoderBlock> blocks_;
  std::unique_ptr<RmsNorm> final_norm_;
  std::unique_ptr<VocabularyLoss> head_;
  Stage stage_;
};

}  // namespace longspan
