#include "tests/support/emulated_cuda.h"

#include <cstring>

#include "attention/kernels/cuda/block_attention.h"
#include "core/kernels/backends.h"
#include "core/kernels/cuda/backend.h"
#include "core/kernels/cuda/ptx/transfer.h"
#include "tests/support/simt/global_memory.h"

namespace longspan::LS_CUDA {

void copy_to_host(CUstream_st*, void* to, const void* from, size_t num_bytes) { std::memcpy(to, from, num_bytes); }
void copy_to_device(CUstream_st*, void* to, const void* from, size_t num_bytes) { std::memcpy(to, from, num_bytes); }

}  // namespace longspan::LS_CUDA

namespace longspan::test {

Context emulated_cuda_context(DType dtype) {
  auto kernels = std::make_shared<KernelSet>("cuda in the emulator");
  add_cpu_kernels(*kernels);
  LS_CUDA::add_kernels(*kernels);
  LS_CUDA::add_attention(*kernels);
  Context::Options options;
  options.compute_dtype = dtype;
  options.kernels = kernels;
  options.memory = std::make_shared<simt::GlobalMemory>();
  return Context(options);
}

}  // namespace longspan::test
