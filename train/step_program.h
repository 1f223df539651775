// StepProgram: how the gradients of a step come about on this rank: which blocks run when, and when gradients are summed.
#pragma once

#include "model/tied_table.h"
#include "train/pipeline_stage.h"

namespace longspan {

class StepProgram {
 public:
  // Makes the programs of all ranks of the pipeline and proves them sound together; wraps the decoder's blocks where ranks share what
  // they read or add to. Collective over the mesh. What it is given must outlive it. Raises Error(kConfiguration) where the schedule
  // cannot do with the run's microbatches.
  StepProgram(const RunSpec& spec, const ProcessMesh& mesh, PipelineStage& stage, Decoder& decoder);
  size_t num_actions() const { return program_.size(); }

  // Of the decoder's microbatches: losses where the head is, and gradients as sums over all that hold the same parameters.
  // Collective over the mesh.
  void run(Context& context);

 private:
  const ProcessMesh& mesh_;
  PipelineStage& stage_;
  Decoder& decoder_;
  TiedTable tied_table_;
  Program program_;
};

}  // namespace longspan
