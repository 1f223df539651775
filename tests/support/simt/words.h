// The vocabulary of CUDA for a compiler of the host: what core/kernels/cuda/ptx/device.h includes where LS_SIMT names this
// header, so that kernels compile as plain C++ and their instructions reach the emulator.
#pragma once

#include "tests/support/simt/barriers.h"
#include "tests/support/simt/copies.h"
#include "tests/support/simt/global_memory.h"
#include "tests/support/simt/matrix.h"
#include "tests/support/simt/mutation.h"
#include "tests/support/simt/scheduler.h"
#include "tests/support/simt/shared_memory.h"
#include "tests/support/simt/warp.h"
#include "tests/support/simt/warpgroup.h"

#define __global__
#define __launch_bounds__(...)
#define __grid_constant__
#define LS_DEVICE inline __attribute__((always_inline))
