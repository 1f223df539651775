#include <cuda_runtime_api.h>

#include "core/base/error.h"
#include "core/kernels/cuda/ptx/transfer.h"

namespace longspan::LS_CUDA {

void expect_success(cudaError_t error, const char* what) {
  check(error == cudaSuccess, "{}: {} ({})", what, cudaGetErrorString(error), cudaGetErrorName(error));
}

namespace {

void copy(CUstream_st* stream, void* to, const void* from, size_t num_bytes, cudaMemcpyKind kind) {
  expect_success(cudaMemcpyAsync(to, from, num_bytes, kind, stream), "copy");
  expect_success(cudaStreamSynchronize(stream), "copy, or a kernel before it");
}

}  // namespace

void copy_to_host(CUstream_st* stream, void* to, const void* from, size_t num_bytes) {
  copy(stream, to, from, num_bytes, cudaMemcpyDeviceToHost);
}

void copy_to_device(CUstream_st* stream, void* to, const void* from, size_t num_bytes) {
  copy(stream, to, from, num_bytes, cudaMemcpyHostToDevice);
}

}  // namespace longspan::LS_CUDA
