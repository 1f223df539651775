#include "core/kernels/backends.h"
#include "core/kernels/cpu/cpu.h"

namespace longspan {

void add_cpu_kernels(KernelSet& kernels) {
  add_cpu_kernels(kernels, detect_cpu_level());
}

void add_cpu_kernels(KernelSet& kernels, CpuLevel level) {
  add_cpu_kernels(kernels, level, last_level_cache_bytes());
}

void add_cpu_kernels(KernelSet& kernels, CpuLevel level, size_t cache_bytes) {
  expect_runs_here(level);
  kernels.add(cpu::make_linear_algebra(level));
  kernels.add(cpu::make_normalization(level, cache_bytes));
  kernels.add(cpu::make_rotary(level));
  kernels.add(cpu::make_activation(level, cache_bytes));
  kernels.add(cpu::make_loss(level));
  kernels.add(cpu::make_embedding(level, cache_bytes));
  kernels.add(cpu::make_optimizer(level));
  kernels.add(cpu::make_elementwise(level, cache_bytes));
}

}  // namespace longspan
