#include "core/runtime/cuda/calls.h"

#include "core/base/error.h"
#include "core/runtime/cuda.h"

namespace longspan {

namespace cuda {

namespace {

bool is_missing(cudaError_t error) {
  return error == cudaErrorMemoryAllocation || error == cudaErrorNoDevice || error == cudaErrorInsufficientDriver ||
         error == cudaErrorInvalidDevice || error == cudaErrorDevicesUnavailable;
}

}  // namespace

void expect_call(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  (void)cudaGetLastError();  // what this call failed of alone is not to fail the next
  raise(is_missing(error) ? ErrorKind::kResource : ErrorKind::kInternal, "CUDA, {}: {} ({})", what, cudaGetErrorString(error),
        cudaGetErrorName(error));
}

void use_device(int ordinal) { expect_call(cudaSetDevice(ordinal), "choice of a device"); }

}  // namespace cuda

int num_cuda_devices() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  (void)cudaGetLastError();  // no driver, or none that is new enough: no devices
  return 0;
}

}  // namespace longspan
