// `longspan bench elementwise`: how near the kernels that memory bounds come to a plain copy of memory.
//
// Everything of a training step besides products and attention, float32 and bfloat16, at two sizes: one far beyond the
// caches, on which the shares are judged, and that of a small model, whose tensors stay in cache and may pass 100%. The
// bytes of a case are those that must move: each input read once, each output written once, both for what is updated in
// place. The share is of StreamCopy on the same threads, measured around each case.
#pragma once

#include <ostream>
#include <vector>

#include "core/base/cpu_level.h"
#include "core/tensor/dtype.h"

namespace longspan {

struct BenchElementwiseOptions {
  CpuLevel level = detect_cpu_level();
  int64_t hidden_size = 2048;  // of the large size, which has 2^25 elements in a tensor
  int num_threads = 1;        // one is timed by its CPU time, several by the clock
  double min_seconds = 0.2;  // for each case, copies included; the best repetition counts
  std::vector<DType> dtypes = {DType::kFloat32, DType::kBFloat16};
};

// One line per case. Raises Error(kConfiguration) unless all numbers are positive.
void bench_elementwise(const BenchElementwiseOptions& options, std::ostream& out);

}  // namespace longspan
