#include <algorithm>

#include "core/base/error.h"
#include "core/runtime/cuda.h"
#include "core/runtime/cuda/calls.h"

namespace longspan {

namespace cuda {

namespace {

// What is freed while a process ends, when there is no device any more, is gone anyway.
void ignore(cudaError_t error) {
  if (error != cudaSuccess) (void)cudaGetLastError();
}

class CudaResource final : public MemoryResource {
 public:
  explicit CudaResource(int ordinal) : ordinal_(ordinal) { use_device(ordinal); }

 private:
  void* do_allocate(size_t num_bytes, Stream&, MemoryTag tag) override {
    use_device(ordinal_);
    void* pointer = nullptr;
    const cudaError_t error = cudaMalloc(&pointer, std::max<size_t>(num_bytes, 1));
    if (error == cudaErrorMemoryAllocation) {
      ignore(error);
      size_t free_bytes = 0, total_bytes = 0;
      expect_call(cudaMemGetInfo(&free_bytes, &total_bytes), "memory that is left");
      raise(ErrorKind::kResource, "CUDA device {} has no {} bytes left for {}: {} of {} are free; use fewer tokens per rank or "
            "more ranks", ordinal_, num_bytes, name(tag), free_bytes, total_bytes);
    }
    expect_call(error, "memory of a device");
    return pointer;
  }

  void do_deallocate(void* pointer, size_t, Stream&, MemoryTag) noexcept override { ignore(cudaFree(pointer)); }

  int ordinal_;
};

class PinnedResource final : public MemoryResource {
  void* do_allocate(size_t num_bytes, Stream&, MemoryTag tag) override {
    void* pointer = nullptr;
    const cudaError_t error = cudaHostAlloc(&pointer, std::max<size_t>(num_bytes, 1), cudaHostAllocPortable);
    if (error == cudaErrorMemoryAllocation) {
      ignore(error);
      raise(ErrorKind::kResource, "the host has no {} bytes of pinned memory left for {}", num_bytes, name(tag));
    }
    expect_call(error, "pinned memory of the host");
    return pointer;
  }

  void do_deallocate(void* pointer, size_t, Stream&, MemoryTag) noexcept override { ignore(cudaFreeHost(pointer)); }
};

}  // namespace

}  // namespace cuda

std::shared_ptr<MemoryResource> make_cuda_memory(int ordinal) { return std::make_shared<cuda::CudaResource>(ordinal); }

std::shared_ptr<MemoryResource> make_pinned_memory() { return std::make_shared<cuda::PinnedResource>(); }

}  // namespace longspan
