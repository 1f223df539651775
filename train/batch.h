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
int64_t num_predicted(const Microbatch& batch);

// The microbatches of one training step on this rank. Sequence number n of the run is row n mod global_batch of step
// n / global_batch, whatever the mesh; data rank d takes the d-th run of rows.
class BatchLoader {
 public:
  // Raises Error(kConfiguration) unless the batch divides over the data axis and into microbatches.
  BatchLoader(const RunSpec& spec, const Dataset& dataset, const ProcessMesh& mesh);
  int num_microbatches() const { return num_microbatches_; }
  // step counts from 1. gradient_scale is set; collective over the mesh's replicas.
  std::vector<Microbatch> load(Context& context, int64_t step) const;

 private:
  const RunSpec& spec_;
  const Dataset& dataset_;
  const ProcessMesh& mesh_;
  int num_microbatches_;
};

}  // namespace longspan
