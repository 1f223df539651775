// `longspan bench elementwise`: how near the kernels that memory bounds come to a plain copy of memory.
//
// Everything of a training step besides products and attention, float32 and bfloat16, at two sizes: one far beyond the
// caches, on which the shares are judged, and, on a CPU, that of a small model, whose tensors stay in cache and may pass 100%.
// The bytes of a case are those that must move: each input read once, each output written once, both for what is updated in
// place. The share is of MemoryCopy on the same threads or the same device, measured in turn with each case.
#pragma once

#include <ostream>
#include <vector>

#include "launcher/bench_machine.h"

namespace longspan {

struct BenchElementwiseOptions {
  BenchMachine machine = {};
  int64_t hidden_size = 2048;  // of the large size
  int64_t num_elements = int64_t{1} << 25;  // of its tensors, but those of the vocabulary
  int64_t vocabulary_size = 32768, loss_tokens = 1024;
  double min_seconds = 0.2;  // for each case, copies included
  std::vector<DType> dtypes = {DType::kFloat32, DType::kBFloat16};
};

// One line per case. Raises Error(kConfiguration) unless all numbers are positive.
void bench_elementwise(const BenchElementwiseOptions& options, std::ostream& out);

}  // namespace longspan
