// What is common to calls of the CUDA runtime.
#pragma once

#include <cuda_runtime_api.h>

namespace longspan::cuda {

// Raises unless error is none: Error(kResource) for memory, devices and drivers that are missing, else Error(kInternal).
// `what`: what was tried, or "work before" it, as work that failed shows in the calls after it.
void expect_call(cudaError_t error, const char* what);

// The device that calls of this thread go to.
void use_device(int ordinal);

}  // namespace longspan::cuda
