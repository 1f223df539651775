// Launches of kernels: on a GPU's stream, or in the emulator, where a launch returns when it is done.
#pragma once

#include <tuple>
#include <type_traits>

#include "core/kernels/cuda/ptx/device.h"
#include "core/kernels/cuda/ptx/launch_shape.h"

#if defined(__CUDACC__)
#include <cuda_runtime.h>

#include <map>
#include <mutex>
#include <utility>

#include "core/kernels/cuda/ptx/success.h"
#endif

struct CUstream_st;

namespace longspan::LS_CUDA {

using NativeStream = CUstream_st*;  // CUDA's own cudaStream_t; null in the emulator

#if defined(__CUDACC__)

// Shared memory above what every kernel may take without asking is asked for: once for a kernel and a device, which keeps it.
inline void ask_for_shared_memory(const void* kernel, unsigned bytes) {
  if (bytes <= kSharedBytesUnasked) return;
  static std::mutex mutex;
  static std::map<std::pair<const void*, int>, unsigned> granted;
  int device = 0;
  expect_success(cudaGetDevice(&device), "the current device");
  const std::lock_guard lock(mutex);
  unsigned& most = granted[{kernel, device}];
  if (bytes <= most) return;
  expect_success(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
                 "shared memory of a kernel");
  most = bytes;
}

// Arguments are copied. Raises Error(kInternal) where the launch is refused; what the kernel does wrong shows later.
template <class... Parameters, class... Arguments>
void launch(NativeStream stream, void (*kernel)(Parameters...), const LaunchShape& shape, const Arguments&... arguments) {
  ask_for_shared_memory(reinterpret_cast<const void*>(kernel), shape.shared_bytes);
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {shape.cluster, 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(shape.grid[0], shape.grid[1], shape.grid[2]);
  config.blockDim = dim3(shape.threads);
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  config.attrs = &cluster;
  config.numAttrs = shape.cluster > 1 ? 1 : 0;
  expect_success(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), "launch of a kernel");
}

#else

template <class... Parameters, class... Arguments>
void launch(NativeStream, void (*kernel)(Parameters...), const LaunchShape& shape, const Arguments&... arguments) {
  const std::tuple<std::decay_t<Parameters>...> given(static_cast<Parameters>(arguments)...);
  simt::run(shape, [&] {
    auto own = given;  // each thread's parameters are its own
    std::apply(kernel, own);
  });
}

#endif

}  // namespace longspan::LS_CUDA
