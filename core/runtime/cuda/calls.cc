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

CudaDeviceFacts cuda_device_facts(int ordinal) {
  cuda::use_device(ordinal);
  cudaDeviceProp properties;
  cuda::expect_call(cudaGetDeviceProperties(&properties, ordinal), "properties of a device");
  size_t free_bytes = 0, total_bytes = 0;
  cuda::expect_call(cudaMemGetInfo(&free_bytes, &total_bytes), "memory that is left");
  return {.name = properties.name,
          .major = properties.major,
          .minor = properties.minor,
          .total_bytes = static_cast<int64_t>(total_bytes),
          .free_bytes = static_cast<int64_t>(free_bytes)};
}

void use_cuda_device(int ordinal) { cuda::use_device(ordinal); }

}  // namespace longspan
