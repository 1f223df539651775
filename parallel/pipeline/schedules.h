// Schedules: the programs of a pipeline. P ranks, v chunks a rank, M microbatches, n chunks a sequence (M counts chunks).
//
//  * GPipe (Huang et al. 2019): all forwards, then all backwards. With v > 1 breadth first (Lamy-Poirier 2023). Keeps M
//    stashes of each block.
//  * 1F1B (PipeDream-flush; Narayanan et al. 2021): after P - 1 - rank forwards, one forward and one backward in turn. v = 1.
//    With n > 1 the sequence-chunked one (Seq1F1B): n - 1 forwards more before the first backward, as that is of the last
//    chunk of a sequence; keeps P - 1 - rank + n stashes that are 1/n as large.
//  * Interleaved 1F1B (Narayanan et al. 2021, section 2.2): v > 1 chunks a rank, dealt in turn; with v = 1 it is 1F1B.
//  * Zero bubble (ZB-H1; Qi et al. 2024): B goes before W, and W, block by block, where a rank would wait. v = 1. Goes by
//    given costs, so that it knows where a rank would wait; by these never slower than 1F1B, and keeps at most P - 1 + n
//    stashes of each block.
//
// All sum in the same order (PipelineShape::gradient_order). Raise Error(kConfiguration), naming the nearest numbers that
// work, where a schedule is not defined: M not a multiple of n; v > 1 for 1F1B and zero bubble; for interleaved a placement
// that is not dealt in turn, or M not a multiple of the least multiple of n that is P or more (so many microbatches go
// through a rank's chunks together).
#pragma once

#include "parallel/pipeline/pipeline_program.h"

namespace longspan {

enum class PipelineSchedule { kGPipe, kOneForwardOneBackward, kInterleaved, kZeroBubble };
constexpr PipelineSchedule kPipelineSchedules[] = {PipelineSchedule::kGPipe, PipelineSchedule::kOneForwardOneBackward,
                                                   PipelineSchedule::kInterleaved, PipelineSchedule::kZeroBubble};
const char* name(PipelineSchedule schedule);

// With the communication in it. Not yet verified.
PipelineProgram make_pipeline_program(PipelineSchedule schedule, const PipelineShape& shape, const PipelineCosts& costs = {});

// The fastest zero-bubble program by other costs than those that `program` was made with, such as measured ones (block_times.h).
// No rank keeps more stashes than by `program`, for which it was seen to have room; where none is faster, `program` itself.
struct Replanned {
  PipelineProgram program;
  double bubble_before = 0, bubble = 0;  // of `program` and of this one, by these costs
};
Replanned replan_zero_bubble(const PipelineProgram& program, const PipelineCosts& costs);

// F alone, for losses without gradients; no reduction. As many microbatches as there are ranks go through a chunk together, so
// that no rank with several chunks waits for the first of them to come round. What verify_pipeline asks of a step it does not
// keep, but nobody waits for ever: all ranks take (group of microbatches, chunk, microbatch) in this one order, in which each
// comes after what it reads.
PipelineProgram make_forward_program(const PipelineShape& shape);

}  // namespace longspan
