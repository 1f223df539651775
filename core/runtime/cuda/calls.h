// What is common to calls of the CUDA runtime.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>

#include "core/runtime/device_queue.h"

namespace longspan::cuda {

// Raises unless error is none: Error(kResource) for memory, devices and drivers that are missing, else Error(kInternal).
// `what`: what was tried, or "work before" it, as work that failed shows in the calls after it.
void expect_call(cudaError_t error, const char* what);

// The device that calls of this thread go to.
void use_device(int ordinal);

// DeviceQueue::mark_time for any stream. Makes an event, on the device that is current.
std::shared_ptr<const TimePoint> mark_time(cudaStream_t stream);

}  // namespace longspan::cuda
