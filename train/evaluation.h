// Evaluator: the loss on held-out documents, in their own order, by document. Weights are as ranks share them in training. Several
// sequences of a data rank go through a pipeline one behind the other, and in the chunks of pipeline.sequence_chunks where a step
// cuts its own so; losses are then of the same order of sums. Where such chunks cannot be, with ranks that share a sequence or more
// chunks than tokens, which training refuses, sequences stay whole.
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
