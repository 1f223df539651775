#include <cuda_runtime_api.h>

#include "core/kernels/cuda/ptx/namespace.h"
#include "core/runtime/cuda/calls.h"

namespace longspan::LS_CUDA {

// Of launch.h, which nvcc compiles: it cannot include what raises errors.
void expect_success(cudaError_t error, const char* what);
void expect_success(cudaError_t error, const char* what) { longspan::cuda::expect_call(error, what); }

}  // namespace longspan::LS_CUDA
