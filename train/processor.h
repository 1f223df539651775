// Processor: what kernels run on, as far as what they need and how they round depend on it.
#pragma once

#include "core/base/cpu_level.h"
#include "core/runtime/device.h"

namespace longspan {

struct Processor {
  CpuLevel level = detect_cpu_level();  // of a CPU's kernels
  DeviceType device = DeviceType::kCpu;

  bool on_cpu() const { return device == DeviceType::kCpu; }
};

}  // namespace longspan
