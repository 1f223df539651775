#include "tests/support/emulated_cuda.h"

#include "attention/kernels/cuda/block_attention.h"
#include "core/kernels/backends.h"
#include "core/kernels/cuda/backend.h"
#include "tests/support/simt/global_memory.h"

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
