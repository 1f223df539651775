// Decoder: the whole model: parameters under their Hugging Face names, and the stage (embedding, blocks, head) that the
// executor runs. Microbatches are handed in before a step; their losses are read from them after.
//
// On a tensor axis of several ranks each has its part of the parameters (model/decoder_parameters.h) and the same microbatches;
// blocks take and give its piece of the tokens. What of its gradients is of the axis's sum is said by the parameters; the caller
// sums it (parallel/tensor/shared_gradients.h).
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "model/decoder_block.h"
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
  SequenceShard shard;
  double gradient_scale = 0;  // 1 / predicted tokens of the global batch
  Tensor losses;   // [tokens], accumulator; written by forward
};

class Decoder {
 public:
  Decoder(const ModelSpec& spec, const ModelAxes& axes, int64_t loss_tile_tokens);
  // Without a tensor axis.
  Decoder(const ModelSpec& spec, Communicator& ring, int64_t loss_tile_tokens);
  Decoder(const Decoder&) = delete;  // the stage refers to the members
  Decoder& operator=(const Decoder&) = delete;

  const ModelSpec& spec() const { return spec_; }
  ParameterSet& parameters() { return parameters_; }
  // Blocks read the microbatches by number.
  std::vector<Microbatch>& microbatches() { return microbatches_; }
  Stage& stage() { return stage_; }

  // The losses of one microbatch, without gradients. Collective over both axes.
  Tensor losses(Context& context, const Microbatch& batch);

  // Tokens after those in the memories (one per layer), on one rank of either axis; returns the logits after the last one,
  // [vocabulary], accumulator.
  std::vector<SegmentMemory> empty_memories(const Context& context, int64_t capacity_tokens) const;
  Tensor continue_from(Context& context, const Tensor& tokens, std::vector<SegmentMemory>& memories) const;

 private:
  Decoder(const ModelSpec& spec, std::unique_ptr<Communicator> alone, Communicator& ring, int64_t loss_tile_tokens);

  std::unique_ptr<Communicator> alone_;  // the tensor axis, where none was given
  ModelSpec spec_;
  ParameterSet parameters_;
  std::vector<Microbatch> microbatches_;
  std::unique_ptr<VocabularyEmbedding> embedding_;
  std::vector<DecoderBlock> blocks_;
  std::unique_ptr<RmsNorm> final_norm_;
  std::unique_ptr<VocabularyLoss> head_;
  Stage stage_;
};

}  // namespace longspan
