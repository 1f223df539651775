#include "tests/attention/context_makers.h"

namespace longspan::test {

Rounding rounding_in_tiles() {
  constexpr double kTileExponential = 7.5e-5;  // relative error of its polynomial for 2^x, the most over [0, 1)
  return rounding_with(kTileExponential);
}

Context level_context(CpuLevel level, DType dtype, int num_threads) {
  auto kernels = std::make_shared<KernelSet>("cpu");
  add_cpu_attention(*kernels, level);
  return Context({.device = {}, .compute_dtype = dtype, .num_threads = num_threads, .memory = nullptr, .kernels = kernels});
}

}  // namespace longspan::test
