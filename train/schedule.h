// The learning rate by step.
#pragma once

#include <cstdint>

#include "train/run_spec.h"

namespace longspan {

// step counts from 1 to num_steps. Rises linearly over warmup_steps, reaching the full rate at step warmup_steps; then falls by
// half a cosine or a line to minimum_learning_rate at the last step, or stays.
double learning_rate(const OptimizerSpec& spec, int64_t step, int64_t num_steps);

}  // namespace longspan
