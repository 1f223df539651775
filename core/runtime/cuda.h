// CUDA devices: their streams and memory. Where this build has no CUDA, all but the number of devices raise
// Error(kConfiguration).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/runtime/memory_resource.h"
#include "core/runtime/stream.h"

namespace longspan {

int num_cuda_devices();  // that this process sees

struct CudaDeviceFacts {
  std::string name;
  int major = 0, minor = 0;  // compute capability
  int64_t total_bytes = 0, free_bytes = 0;
};
CudaDeviceFacts cuda_device_facts(int ordinal);
// For libraries that take the current device of the calling thread; what is below chooses by itself.
void use_cuda_device(int ordinal);

enum class StreamPriority { kNormal, kHigh };  // whose blocks a device starts first
std::shared_ptr<Stream> make_cuda_stream(int ordinal, StreamPriority priority = StreamPriority::kNormal);

// The device's own memory. Every call waits for the whole device, so a CachingResource belongs above it.
std::shared_ptr<MemoryResource> make_cuda_memory(int ordinal);
// Memory of the host that devices copy from and to while the host goes on. As slow to get; above it a CachingResource with
// Reuse::kWhenDone.
std::shared_ptr<MemoryResource> make_pinned_memory();

}  // namespace longspan
