// Puts the sums of gradients into a rank's program: START_REDUCE of a bucket as soon as the last W of its blocks is done, of all
// microbatches or of each one (ReductionPlan). The transfer goes on under what the rank computes then; REDUCE, the last action,
// waits for all. Ranks that hold the same parameters have the same programs, so they begin their sums in one order.
#pragma once

#include "parallel/pipeline/pipeline_program.h"

namespace longspan {

Program with_reductions(const Program& program, const PipelineShape& shape);

}  // namespace longspan
