// `longspan bench loss`: the head and the loss together, a tile of tokens at a time, as training does them.
//
// The product with the head, cross-entropy, its gradient, and the gradients of input and weight: three products, 6 x tokens x
// vocabulary x hidden operations; what is done to the logits in between counts as nothing. The share is of ProductPeak.
#pragma once

#include <cstdint>
#include <ostream>
#include <vector>

#include "launcher/bench_machine.h"

namespace longspan {

struct BenchLossOptions {
  BenchMachine machine = {};
  double min_seconds = 0.2;  // for each case
  int64_t hidden_size = 256;
  std::vector<int64_t> tile_tokens = {2048, 4096};
  std::vector<int64_t> vocabulary_sizes = {4096, 32768};
  std::vector<DType> dtypes = {DType::kFloat32, DType::kBFloat16};
};

// One line per tile, vocabulary and dtype. Raises Error(kConfiguration) unless all numbers are positive.
void bench_loss(const BenchLossOptions& options, std::ostream& out);

}  // namespace longspan
