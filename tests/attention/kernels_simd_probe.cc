#include "tests/attention/kernels_simd_probe.h"

#include "core/base/simd.h"

namespace longspan::LS_CPU_LEVEL {

void probe_exp2(const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; i += kWidth) store(y + i, exp2(load(x + i)));
}

float probe_sum(const float* x) { return horizontal_sum(load(x)); }

}  // namespace longspan::LS_CPU_LEVEL
