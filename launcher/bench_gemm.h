// `longspan bench gemm`: how near the products of a training step come to the peak of this machine.
//
// Those of one linear layer, with weights W [out, in] packed beforehand as training does it: forward x W^T, gradient of the
// input dy W, and gradient of the weight dy^T x added to float32 sums; of the head, a tile of tokens. 2 x tokens x out x in
// operations each. The share is of what this machine's best instructions do from registers alone, measured around each case:
// products come from oneDNN, which chooses its own. The level says how what is around them is done (copies, sums, rounding)
// and whether bfloat16 is multiplied by itself or as float32.
#pragma once

#include <cstdint>
#include <ostream>
#include <vector>

#include "core/base/cpu_level.h"
#include "core/tensor/dtype.h"

namespace longspan {

struct BenchGemmOptions {
  CpuLevel level = detect_cpu_level();
  int num_threads = 1;       // one is timed by its CPU time, several by the clock
  double min_seconds = 0.2;  // for each product; the best repetition counts
  int64_t num_tokens = 4096;
  std::vector<int64_t> hidden_sizes = {256, 1024};
  std::vector<DType> dtypes = {DType::kFloat32, DType::kBFloat16};
};

// One line per product. Raises Error(kConfiguration) unless all numbers are positive.
void bench_gemm(const BenchGemmOptions& options, std::ostream& out);

}  // namespace longspan
