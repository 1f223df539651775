// Forward of a task: opens its tiles from (O, LSE), streams blocks of keys past them, and closes them.
#pragma once

#include "attention/kernels/cpu/amx/tasks.h"

namespace longspan::LS_CPU_LEVEL {

void forward(const TileForwardTask& task);

}  // namespace longspan::LS_CPU_LEVEL
