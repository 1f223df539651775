#include "tests/support/real_cuda.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "attention/kernels/cuda/block_attention.h"
#include "core/kernels/backends.h"
#include "core/kernels/cuda/ptx/success.h"

namespace longspan::test {

namespace {

// Filled with bytes 0xff, NaN in float and bfloat16, as in the emulator.
class PinnedMemory final : public MemoryResource {
  void* do_allocate(size_t num_bytes, Stream&, MemoryTag) override {
    void* pointer = nullptr;
    cuda::expect_success(cudaMallocHost(&pointer, std::max<size_t>(num_bytes, 1)), "pinned memory");
    std::memset(pointer, 0xff, num_bytes);
    return pointer;
  }
  void do_deallocate(void* pointer, size_t, Stream&, MemoryTag) noexcept override {
    cudaDeviceSynchronize();  // what was given to the stream may use it still
    cudaFreeHost(pointer);
  }
};

}  // namespace

Context real_cuda_context(DType dtype) {
  setenv("CUDA_LAUNCH_BLOCKING", "1", 1);  // read when the runtime starts
  auto kernels = std::make_shared<KernelSet>("cuda");
  add_cuda_kernels(*kernels);
  cuda::add_attention(*kernels);
  Context::Options options;
  options.compute_dtype = dtype;
  options.kernels = kernels;
  options.memory = std::make_shared<PinnedMemory>();
  return Context(options);
}

void wait_for_gpu() { cuda::expect_success(cudaDeviceSynchronize(), "a kernel"); }

}  // namespace longspan::test
