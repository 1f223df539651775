// The device that a test is about, so that one body of a test makes two programs: on an emulated device (label `cpu`), which
// links longspan_device_emulated, and on a GPU (label `gpu`), which links longspan_device_gpu. Tensors lie in the device's own
// memory, which the host reaches by copies alone.
#pragma once

#include "core/runtime/context.h"

namespace longspan::test {

// What a context of it is made of; float32 or bfloat16. The emulator has number 0 alone.
Context::Options device_options(DType dtype, int ordinal = 0);
inline Context device_context(DType dtype, int ordinal = 0) { return Context(device_options(dtype, ordinal)); }
std::shared_ptr<MemoryResource> device_memory(int ordinal = 0);
// One that gives each tensor memory of its own, so that tools see what reaches beyond it. Slow.
inline Context exact_device_context(DType dtype) {
  Context::Options options = device_options(dtype);
  options.memory = device_memory();
  return Context(std::move(options));
}
bool device_is_emulated();  // where a run of a model takes seconds

}  // namespace longspan::test
