#include "attention/kernels/block_attention.h"
#include "core/kernels/backends.h"
#include "core/runtime/cuda.h"
#include "tests/support/device_under_test.h"

namespace longspan::test {

std::shared_ptr<MemoryResource> device_memory(int ordinal) { return make_cuda_memory(ordinal); }

Context::Options device_options(DType dtype, int ordinal) {
  auto kernels = std::make_shared<KernelSet>("cuda");
  add_cuda_kernels(*kernels);
  add_cuda_attention(*kernels);
  Context::Options options;
  options.device = {.type = DeviceType::kCuda, .ordinal = ordinal};
  options.compute_dtype = dtype;
  options.kernels = kernels;
  options.memory = std::make_shared<CachingResource>(device_memory(ordinal));
  options.host_memory = std::make_shared<CachingResource>(make_pinned_memory(), Reuse::kWhenDone);
  options.stream = make_cuda_stream(ordinal);
  return options;
}

bool device_is_emulated() { return false; }

}  // namespace longspan::test
