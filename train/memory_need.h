// The least memory that a run can do with: what would not fit by far is refused before a host begins to swap, or ends the
// run without a word.
//
// Counted is only what is certain: parameters with what belongs to each, and what the tokens of a batch take on each rank.
// A run that passes may still run out of memory.
#pragma once

#include <cstdint>

#include "train/run_spec.h"

namespace longspan {

// Bytes for each parameter: its value and, in training, its gradient and two moments.
constexpr int64_t kTrainingBytesPerParameter = 16, kInferenceBytesPerParameter = 4;

// Both raise Error(kResource), naming the fields, what is needed and what there is; `available_bytes` is for one rank, 0 where
// it is not known.
void expect_room_for_parameters(int64_t num_parameters, int64_t bytes_per_parameter, int64_t available_bytes);
void expect_room_for_batch(const RunSpec& spec, int64_t available_bytes);

}  // namespace longspan
