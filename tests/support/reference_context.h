// Contexts for tests: float64 on the reference kernels, or float32/bfloat16 on the CPU's, one thread each.
#pragma once

#include "attention/kernels/block_attention.h"
#include "core/kernels/backends.h"
#include "core/runtime/context.h"

namespace longspan::test {

inline Context make_context(DType dtype, std::shared_ptr<MemoryResource> memory = nullptr, int num_threads = 1,
                            CpuLevel level = detect_cpu_level()) {
  auto kernels = std::make_shared<KernelSet>(dtype == DType::kFloat64 ? "reference" : "cpu");
  if (dtype == DType::kFloat64) {
    add_reference_kernels(*kernels);
    add_reference_attention(*kernels);
  } else {
    add_cpu_kernels(*kernels, level);
    add_cpu_attention(*kernels, level);
  }
  return Context(
      {.device = {}, .compute_dtype = dtype, .num_threads = num_threads, .memory = std::move(memory), .kernels = kernels});
}

}  // namespace longspan::test
