// StepProgram: how the gradients of a step come about on this rank: which blocks run when, and when gradients are summed.
//
// The zero-bubble schedule is planned twice: at first by counted operations, and after two steps by the times that its blocks
// took. Weights do not depend on that, since every schedule sums in one order; where ranks share gradients, the order of sums is
// the schedule's, so that one stays with the first plan, for runs to repeat to the last bit.
#pragma once

#include "model/tied_table.h"
#include "train/pipeline_stage.h"

namespace longspan {

class StepProgram {
 public:
  // Makes the programs of all ranks of the pipeline and proves them sound together. Collective over the mesh. What it is given
  // must outlive it. Raises Error(kConfiguration) where the schedule cannot do with the run's microbatches.
  StepProgram(const Context& context, const RunSpec& spec, const ProcessMesh& mesh, PipelineStage& stage, Decoder& decoder);
  StepProgram(const StepProgram&) = delete;
  size_t num_actions() const { return program_.size(); }

  // Of the decoder's microbatches: losses where the head is, and gradients as sums over all that hold the same parameters.
  // Collective over the mesh. Says what has changed for the steps to come, if anything has: for people.
  std::string run(Context& context);

  // Of a zero-bubble pipeline that is still to be planned again: now, by these costs, which are the same on all ranks. What run()
  // does with those that it has measured. Collective over the mesh.
  std::string plan_again(const Context& context, const PipelineCosts& costs);

 private:
  void adopt(const Context& context, PipelineProgram programs);

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
  int num_measured_steps_ = 0;
};

}  // namespace longspan
