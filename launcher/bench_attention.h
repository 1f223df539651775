// `longspan bench attention`: how near block attention comes to the peak of this machine.
//
// Causal attention of one sequence, fp32 or bf16, forward and backward. Operations are counted as the field counts
// them: forward two products of 2 S^2 D per head, halved as the upper triangle is skipped; backward 2.5 times that. The
// share is of the register-only fp32 multiply-adds of the same cores, measured around each case; a bf16 kernel that
// uses matrix units may pass 100%.
#pragma once

#include <cstdint>
#include <ostream>
#include <vector>

#include "core/base/cpu_level.h"
#include "core/tensor/dtype.h"

namespace longspan {

struct BenchAttentionOptions {
  struct Case {
    DType dtype = DType::kFloat32;
    int64_t head_dim = 128;
    int64_t num_tokens = 4096;
  };
  CpuLevel level = detect_cpu_level();
  int num_threads = 1;     // each gets one head; one thread is timed by its CPU time, several by the clock
  double min_seconds = 1;  // for each case and direction; the best repetition counts
  std::vector<Case> cases = {
      {DType::kFloat32, 64, 4096},  {DType::kFloat32, 128, 4096},  {DType::kFloat32, 64, 16384},
      {DType::kFloat32, 128, 16384}, {DType::kBFloat16, 64, 4096}, {DType::kBFloat16, 128, 4096},
      {DType::kBFloat16, 64, 16384}, {DType::kBFloat16, 128, 16384},
  };
};

// One line per case and direction. Raises Error(kConfiguration) unless all numbers are positive.
void bench_attention(const BenchAttentionOptions& options, std::ostream& out);

}  // namespace longspan
