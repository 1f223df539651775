// From sequences of tokens to one rank's share of a microbatch.
#pragma once

#include <vector>

#include "model/decoder.h"
#include "parallel/comm/process_mesh.h"
#include "train/data/dataset.h"
#include "train/run_spec.h"

namespace longspan {

// Where a rank stands among those that share a sequence.
struct ContextShare {
  LayoutType layout = LayoutType::kZigzag;
  int num_ranks = 1, rank = 0;
};

// `sequences`: the whole sequences of the microbatch, all of one length, the same on every rank of the context axis. A token's
// target is the next token of its document; a document's last token has none. gradient_scale stays 0 for the caller to set.
Microbatch make_microbatch(const Context& context, const ModelSpec& model, const ContextShare& share,
                           const std::vector<TokenSequence>& sequences);
// The same cut into chunks of neighbouring tokens, each a microbatch, one after the other; later ones see earlier ones.
void add_chunks(const Context& context, const ModelSpec& model, int num_chunks, const std::vector<TokenSequence>& sequences,
                std::vector<Microbatch>& batches);
// Counts the tokens of whole sequences, which are in ordinary vectors, while it lives.
[[nodiscard]] CountedBytes count_tokens(const Context& context, const std::vector<TokenSequence>& sequences);
double sum_of_losses(const Context& context, const Microbatch& batch);  // after forward; 0 where the head is on another rank

// The microbatches of one training step on this rank. A step takes the next global_batch sequences of the data, whatever the
// mesh; data rank d takes the d-th run of them.
class BatchLoader {
 public:
  // Raises Error(kConfiguration) unless the batch divides over the data axis and into microbatches.
  BatchLoader(const RunSpec& spec, const Dataset& dataset, const ProcessMesh& mesh);
  // The number of a step's first sequence. A run that begins anew begins with sequence 0.
  int64_t first_sequence(int64_t step) const { return offset_ + step * spec_.global_batch_sequences; }
  // From now on `step` takes the sequences from this number on; for a run that resumes, also with another global batch.
  void continue_at(int64_t sequence, int64_t step) { offset_ = sequence - step * spec_.global_batch_sequences; }
  // step counts from 1. Where sequences are cut into chunks, each chunk is a microbatch: those of one set of sequences one after
  // the other. gradient_scale is set; collective over the mesh's replicas.
  std::vector<Microbatch> load(Context& context, int64_t step) const;

 private:
  const RunSpec& spec_;
  const Dataset& dataset_;
  const ProcessMesh& mesh_;
  int num_microbatches_;  // of whole sequences
  int64_t offset_;  // first_sequence of step 0, which does not exist
};

}  // namespace longspan
