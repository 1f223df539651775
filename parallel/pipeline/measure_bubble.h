// What a schedule's bubble is when it runs: blocks that sleep for set times instead of computing, on ranks as
// threads. Idle threads need no cores, so a machine with few of them will do. Stashes are counted, not allocated.
// For benchmarks, beside what the verifier predicts.
#pragma once

#include "parallel/pipeline/pipeline_program.h"

namespace longspan {

struct MeasuredBubble {
  double makespan_seconds = 0;
  double bubble = 0;  // the share of all ranks' time in which their blocks do not sleep
  std::vector<int64_t> peak_stash_bytes;  // by rank: the most that its stashes held at once
};

// Runs a verified program. Messages carry eight bytes and take what they take, whatever the costs say of
// them.
MeasuredBubble measure_bubble(const PipelineProgram& program, const PipelineCosts& costs);

}  // namespace longspan
