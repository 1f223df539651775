#include <cuda_runtime_api.h>

#include <algorithm>

#include "parallel/comm/device_choice.h"

namespace longspan {

VisibleDevices visible_devices() {
  int count = 0;
  VisibleDevices devices;
  // Without a driver or a GPU this is an error, which here means none.
  if (cudaGetDeviceCount(&count) != cudaSuccess) count = 0;
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, ordinal) != cudaSuccess) break;
    std::copy_n(properties.uuid.bytes, devices.emplace_back().size(), reinterpret_cast<char*>(devices.back().data()));
  }
  cudaGetLastError();  // what failed above must not show in a later call
  return devices;
}

}  // namespace longspan
