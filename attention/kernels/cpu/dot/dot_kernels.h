// What the sources of dot products hand to their table.cc.
#pragma once

#include "attention/kernels/cpu/head_tasks.h"

namespace longspan::LS_CPU_LEVEL {

constexpr int64_t kForwardDotTiles = 8;  // tiles that share a packed block of keys

void forward(const ForwardTask<bfloat16>& task);
void backward(const BackwardTask<bfloat16>& task);
// Floats of scratch.
int64_t forward_scratch(int64_t head_dim);
int64_t backward_scratch(int64_t num_tiles, int64_t head_dim);

}  // namespace longspan::LS_CPU_LEVEL
