// Evaluator: the loss on held-out documents, in their own order, by document. Ranks share weights as in training. Several
// sequences of a data rank go through a pipeline one behind the other, cut into pipeline.sequence_chunks as those of a step are;
// but not where ranks share a sequence, or where it has fewer tokens than chunks, which training refuses and an evaluation need
// not.
#pragma once

#include "model/decoder.h"
#include "parallel/comm/process_mesh.h"
#include "train/batch.h"
#include "train/data/dataset.h"
#include "train/pipeline_stage.h"
#include "train/train.h"

namespace longspan {

class Evaluator {
 public:
  // spec.evaluation.data must be set. The sequences are divided over the data axis. Collective: all ranks must see the same
  // files.
  Evaluator(const Context& context, const RunSpec& spec, const ProcessMesh& mesh);
  // Collective over the mesh; every rank gets the whole result. Step 0 in the report.
  EvaluationResult run(Context& context, PipelineStage& stage, Decoder& decoder) const;

 private:
  int64_t sequences_at_once() const;  // of a data rank
  int num_chunks() const;             // of a sequence
  // Adds the microbatches of a sequence.
  std::vector<DocumentSpan> load(const Context& context, int64_t number, std::vector<Microbatch>& batches) const;

  const RunSpec& spec_;
  const ProcessMesh& mesh_;
  Dataset data_;
};

}  // namespace longspan
