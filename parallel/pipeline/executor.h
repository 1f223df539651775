// Executor: the one interpreter of programs.
#pragma once

#include <functional>

#include "parallel/pipeline/block_times.h"
#include "parallel/pipeline/pipeline_link.h"
#include "parallel/pipeline/placement.h"
#include "parallel/pipeline/program.h"
#include "parallel/pipeline/stage_block.h"

namespace longspan {

// Sums over the replicas, as the program asks for them.
class GradientSums {
 public:
  virtual ~GradientSums() = default;
  virtual void start(const Action& action) = 0;  // START_REDUCE
  virtual void finish() = 0;                     // REDUCE
  virtual void after_compute() {}                // between two actions: moves what is under way
  virtual bool under_way() const { return false; }  // whether the context's progress moves any, so that a bubble hides it
};

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
  BlockTimes* times = nullptr;  // what measures the blocks; where there is none, nothing waits for a device's compute
};

// Runs a verified program over the stage. Raises what blocks and communicators raise; gradients are then partial and the step is
// lost. With `pipeline` it is this rank's program of a PipelineProgram; `stage` holds the rank's blocks in the order of the
// model. Before REDUCE, and before it returns, all sends are done.
void execute(Context& context, const Program& program, Stage& stage, GradientSums& sums, const PipelineRank* pipeline = nullptr);

// Where all is summed at the end: `reduce` does the program's REDUCE.
void execute(Context& context, const Program& program, Stage& stage, const std::function<void()>& reduce);
void execute(Context& context, const Program& program, Stage& stage, const std::function<void()>& reduce,
             const PipelineRank& pipeline);

}  // namespace longspan
