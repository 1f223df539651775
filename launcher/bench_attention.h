// `longspan bench attention`: how near block attention comes to the peak of this machine.
//
// Operations are counted exactly, from the (query, key) pairs that are seen: forward two products, 4 D for each pair and head,
// backward 2.5 times that; what a kernel computes beyond the edges counts as nothing. The share is of the register-only fp32
// multiply-adds of the same cores, measured around each case; a bf16 kernel that uses matrix units may pass 100%.
#pragma once

#include <cstdint>
#include <ostream>
#include <vector>

#include "core/base/cpu_level.h"
#include "core/tensor/dtype.h"

namespace longspan {

struct BenchAttentionOptions {
  // All but the first are measured in turn with another of the same tokens, and print how their rates compare.
  enum class Kind {
    kCausal,     // one sequence, a head for each thread
    kDocuments,  // 64 documents of uneven length, beside causal tokens that see as much
    kWindow,     // each query sees the last 1024 keys, beside kCausal
    kGroups,     // for each thread eight query heads on two key heads, beside eight on eight
    kOneHead,    // all threads, but two at least, on one causal head, beside one thread
  };
  struct Case {
    DType dtype = DType::kFloat32;
    int64_t head_dim = 128;
    int64_t num_tokens = 4096;
    Kind kind = Kind::kCausal;
    bool operator==(const Case&) const = default;
  };
  CpuLevel level = detect_cpu_level();
  int num_threads = 1;     // one thread is timed by its CPU time, several by the clock
  double min_seconds = 1;  // for each case and direction; the best repetition counts
  std::vector<Case> cases = default_cases();
  static std::vector<Case> default_cases();
};

// One line per case and direction. Raises Error(kConfiguration) unless all numbers are positive.
void bench_attention(const BenchAttentionOptions& options, std::ostream& out);

}  // namespace longspan
