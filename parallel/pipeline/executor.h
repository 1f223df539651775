// Executor: the one interpreter of programs.
#pragma once

#include <functional>

#include "parallel/pipeline/pipeline_link.h"
#include "parallel/pipeline/placement.h"
#include "parallel/pipeline/program.h"
#include "parallel/pipeline/stage_block.h"

namespace longspan {

// Runs a verified program over the stage; one without a B keeps no stash. `reduce` does the program's REDUCE.
// Raises what blocks and communicators raise; gradients are then partial and the step is lost.
void execute(Context& context, const Program& program, Stage& stage, const std::function<void()>& reduce);

// What a rank of a pipeline needs besides.
struct PipelineRank {
  PipelineLink& link;
  const Placement& placement;
  // A tensor for what comes from another rank for this microbatch, activation or gradient: shape and dtype
  // are the same on both sides, and contiguous.
  std::function<Tensor(int microbatch)> new_message;
  // How many sends may be under way, each holding what it sends, before the rank waits for the oldest. With 0
  // it waits for each; the verifier has proved that this ends.
  int max_sends = 4;
};

// Runs this rank's program of a verified PipelineProgram; `stage` holds the rank's blocks in the order of the
// model. Before REDUCE, and before it returns, all sends are done.
void execute(Context& context, const Program& program, Stage& stage, const std::function<void()>& reduce,
             const PipelineRank& pipeline);

}  // namespace longspan
