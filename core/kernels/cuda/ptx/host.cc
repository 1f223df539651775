#include <cuda_runtime_api.h>

#include "core/base/error.h"
#include "core/kernels/cuda/ptx/namespace.h"

namespace longspan::LS_CUDA {

void expect_success(cudaError_t error, const char* what);  // launch.h, which nvcc reads; it cannot read what raises errors

void expect_success(cudaError_t error, const char* what) {
  check(error == cudaSuccess, "{}: {} ({})", what, cudaGetErrorString(error), cudaGetErrorName(error));
}

}  // namespace longspan::LS_CUDA
