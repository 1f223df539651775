// Device: where tensors live and kernels run.
#pragma once

#include <cstdint>

namespace longspan {

enum class DeviceType : uint8_t { kCpu, kCuda };

struct Device {
  DeviceType type = DeviceType::kCpu;
  int ordinal = 0;
  bool operator==(const Device&) const = default;
};

}  // namespace longspan
