// Evaluator: the loss on held-out documents, in their own order, by document.
#pragma once

#include "model/decoder.h"
#include "parallel/comm/process_mesh.h"
#include "train/data/dataset.h"
#include "train/train.h"

namespace longspan {

class Evaluator {
 public:
  // spec.evaluation.data must be set. The sequences are divided over the data axis. Collective: all ranks must see the same
  // files.
  Evaluator(const Context& context, const RunSpec& spec, const ProcessMesh& mesh);
  // Collective over the mesh; every rank gets the whole result. Step 0 in the report.
  EvaluationResult run(Context& context, Decoder& decoder) const;

 private:
  const RunSpec& spec_;
  const ProcessMesh& mesh_;
  Dataset data_;
};

}  // namespace longspan
