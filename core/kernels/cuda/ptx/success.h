// Calls of the CUDA runtime, checked.
#pragma once

#include <cuda_runtime_api.h>

#include "core/kernels/cuda/ptx/namespace.h"

namespace longspan::LS_CUDA {

// Raises Error(kInternal), naming what failed and how, unless error is none.
void expect_success(cudaError_t error, const char* what);

}  // namespace longspan::LS_CUDA
