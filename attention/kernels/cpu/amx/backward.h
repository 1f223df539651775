// Backward of a task, in blocks of 256 queries x 128 keys, in two phases: S^T and dP^T unit by unit, with the vector work of the
// unit before beside them; then dV and dK, summed over the queries of the block, and dQ^T, summed over two blocks of keys
// where both are seen by the same tiles. One pass in a fixed order: super-blocks of keys, heads, queries, keys.
#pragma once

#include "attention/kernels/cpu/amx/tasks.h"

namespace longspan::LS_CPU_LEVEL {

void backward(const TileBackwardTask& task);

}  // namespace longspan::LS_CPU_LEVEL
