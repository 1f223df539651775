// What the pipeline axis of a run does, from its specification alone: which blocks each rank holds and what it does in a step.
// Costs are analytic (block_flop of model/model_spec.h), so that the head, which multiplies as much as several layers, is
// balanced against them.
#pragma once

#include "parallel/pipeline/schedules.h"
#include "parallel/pipeline/verifier.h"
#include "train/run_spec.h"

namespace longspan {

// Of whole sequences, of a data rank in a step. Raises Error(kConfiguration) unless the batch divides over the data axis and into
// microbatches.
int num_microbatches_of(const RunSpec& spec);

// Of each block, in operations, by chunk of a sequence; all ranks that share a microbatch together. Stashes are counted in
// layers: 1 for each.
PipelineCosts pipeline_costs(const RunSpec& spec);

// Both raise Error(kConfiguration), naming the field and the nearest that works, where the blocks do not reach for the stages and
// their chunks.
Placement place_model(const RunSpec& spec);
// Also where the schedule cannot do with the chunks or the number of microbatches, or where sequences cannot be cut so. Not yet
// verified.
PipelineProgram plan_pipeline(const RunSpec& spec);

}  // namespace longspan
