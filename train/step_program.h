// StepProgram: how the gradients of a step come about on this rank: which blocks run when, and when gradients are summed.
//
// The zero-bubble schedule is planned twice: at first by counted operations, and after the first step by the times that its blocks
// took. Weights do not depend on that, since every schedule sums in one order; where ranks share gradients, the order of sums is the
// schedule's, so that one stays with the first plan, for runs to repeat to the last bit.
#pragma once

#include "model/tied_table.h"
#include "train/pipeline_stage.h"

namespace longspan {

class StepProgram {
 public:
  // Makes the programs of all ranks of the pipeline and proves them sound together; wraps the decoder's blocks where ranks share what
  // they read or add to. Collective over the mesh. What it is given must outlive it. Raises Error(kConfiguration) where the schedule
  // cannot do with the run's microbatches.
  StepProgram(const Context& context, const RunSpec& spec, const ProcessMesh& mesh, PipelineStage& stage, Decoder& decoder);
  StepProgram(const StepProgram&) = delete;
  size_t num_actions() const { return program_.size(); }

  // Of the decoder's microbatches: losses where the head is, and gradients as sums over all that hold the same parameters.
  // Collective over the mesh. Says what has changed for the steps to come, if anything has: for people.
  std::string run(Context& context);

 private:
  void adopt(const Context& context, PipelineProgram programs);
  std::string plan_by_times(const Context& context);

  const RunSpec& spec_;
  const ProcessMesh& mesh_;
  PipelineStage& stage_;
  Decoder& decoder_;
  TiedTable tied_table_;
  ReductionPlan reductions_;
  Program program_;
  // Until the blocks are measured, if they are to be.
  PipelineProgram planned_;  // without reductions
  std::unique_ptr<BlockTimes> times_;
};

}  // namespace longspan
