// The least memory that a run can do with: what would not fit is refused before a host begins to swap, or ends the run
// without a word.
//
// Counted is only what is certain: parameters with what belongs to each, and of a training step what one rank holds at
// the moments that need most, with what attention packs. Other workspace of kernels, buffers of messages and the process itself
// come on top, so a run that passes may still run out of memory.
#pragma once

#include <cstdint>

#include "train/processor.h"
#include "train/run_spec.h"

namespace longspan {

// Bytes for each parameter in training, at least: its value, its gradient and two moments, all of which ranks may share.
double training_bytes_per_parameter(const RunSpec& spec);

// What a training step holds at its peak on one rank, of a pipeline on that which holds most, in bytes; doubles, since sizes
// come from a user and may multiply to more than 64 bits hold.
struct TrainingNeed {
  double weights = 0;  // values, masters, gradients and moments; what a CPU's products read packed, twice more
  double kept = 0;     // for backward, by all layers for one microbatch
  double at_work = 0;  // the loss of a tile of tokens, or the gradients that flow through one layer, whichever is more
  double context = 0;  // of what its scheme moves: keys and values that arrive, sums of their gradients that leave
  double tables = 0;   // of all tokens of the step: ids, rotary angles, losses, which keys each query may see
  double total() const { return weights + kept + at_work + context + tables; }
};
TrainingNeed training_need(const RunSpec& spec, const Processor& processor = {});

// Of an evaluation: masters and values, as ranks share them; what a CPU's products read packed, or, where weights are gathered,
// those of one block.
double inference_weight_bytes(const RunSpec& spec, const Processor& processor = {});

// These raise Error(kResource), naming the fields, what is needed and what there is; `available_bytes` is for one rank,
// 0 where it is not known.
void expect_room_for_parameters(int64_t num_parameters, double bytes_per_parameter, int64_t available_bytes);
void expect_room_for_inference(const RunSpec& spec, int64_t available_bytes, const Processor& processor = {});
// This one also says which length, or how many ranks, would fit.
void expect_room_for_batch(const RunSpec& spec, int64_t available_bytes, const Processor& processor = {});

}  // namespace longspan
