#include "core/base/error.h"
#include "core/runtime/cuda.h"

namespace longspan {

namespace {

[[noreturn]] void refuse() {
  raise(ErrorKind::kConfiguration, "this build has no CUDA devices: build it where a CUDA toolkit 13 is found");
}

}  // namespace

int num_cuda_devices() { return 0; }
CudaDeviceFacts cuda_device_facts(int) { refuse(); }
void use_cuda_device(int) { refuse(); }
std::shared_ptr<Stream> make_cuda_stream(int, StreamPriority) { refuse(); }
std::shared_ptr<MemoryResource> make_cuda_memory(int) { refuse(); }
std::shared_ptr<MemoryResource> make_pinned_memory() { refuse(); }

}  // namespace longspan
