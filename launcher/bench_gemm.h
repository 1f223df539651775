// `longspan bench gemm`: how near the products of a training step come to the peak of this machine.
//
// Those of one linear layer, with weights W [out, in] packed beforehand as training does it: forward x W^T, gradient of the
// input dy W, and gradient of the weight dy^T x added to float32 sums; of the head, a tile of tokens. 2 x tokens x out x in
// operations each. The share is of ProductPeak, measured around each case. On a CPU products come from oneDNN, which chooses its
// own instructions; the level says how what is around them is done (copies, sums, rounding) and whether bfloat16 is multiplied by
// itself or as float32.
#pragma once

#include <cstdint>
#include <ostream>
#include <vector>

#include "launcher/bench_machine.h"

namespace longspan {

struct BenchGemmOptions {
  BenchMachine machine = {};
  double min_seconds = 0.2;  // for each product
  int64_t num_tokens = 4096;
  std::vector<int64_t> hidden_sizes = {256, 1024};
  int64_t vocabulary_size = 32000, head_tokens = 1024;  // of the head, and a tile of it
  std::vector<DType> dtypes = {DType::kFloat32, DType::kBFloat16};
};

// One line per product. Raises Error(kConfiguration) unless all numbers are positive.
void bench_gemm(const BenchGemmOptions& options, std::ostream& out);

}  // namespace longspan
