// A rank of a run on the device of the test program.
#pragma once

#include "tests/support/device_under_test.h"
#include "train/train.h"

namespace longspan::test {

inline RankResources device_resources(DType dtype = DType::kFloat32, int ordinal = 0) {
  const Context::Options options = device_options(dtype, ordinal);
  RankResources resources;
  resources.device = options.device;
  resources.memory = options.memory;
  resources.kernels = options.kernels;
  resources.stream = options.stream;
  resources.host_memory = options.host_memory;
  return resources;
}

}  // namespace longspan::test
