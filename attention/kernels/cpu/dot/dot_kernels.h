// What the sources of dot products hand to their table.cc.
#pragma once

#include "attention/kernels/cpu/head_tasks.h"

namespace longspan::LS_CPU_LEVEL {

void forward(const ForwardTask<bfloat16>& task);
void backward(const BackwardTask<bfloat16>& task);
// Floats of scratch.
int64_t forward_scratch(int64_t head_dim);
int64_t backward_scratch(int64_t num_tiles, int64_t head_dim);

}  // namespace longspan::LS_CPU_LEVEL
