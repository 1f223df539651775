#include "core/kernels/backends.h"
#include "core/kernels/cpu/cpu.h"

namespace longspan {

void add_cpu_kernels(KernelSet& kernels) {
  add_cpu_kernels(kernels, detect_cpu_level());
}

void add_cpu_kernels(KernelSet& kernels, CpuLevel level) {
  expect_runs_here(level);
  kernels.add(cpu::make_linear_algebra(level));
  kernels.add(cpu::make_normalization(level));
  kernels.add(cpu::make_rotary(level));
  kernels.add(cpu::make_activation(level));
  kernels.add(cpu::make_loss(level));
  kernels.add(cpu::make_embedding(level));
  kernels.add(cpu::make_optimizer(level));
  kernels.add(cpu::make_elementwise(level));
}

}  // namespace longspan
