#include <cuda_runtime_api.h>

#include "core/base/error.h"

namespace longspan::cuda {

void expect_success(cudaError_t error, const char* what) {
  check(error == cudaSuccess, "{}: {} ({})", what, cudaGetErrorString(error), cudaGetErrorName(error));
}

}  // namespace longspan::cuda
