// `longspan bench attention`: how near block attention comes to the peak of this machine.
//
// Operations are counted exactly, from the (query, key) pairs that are seen: forward two products, 4 D for each pair and head,
// backward 2.5 times that, so causal counts as half; what a kernel computes beyond the edges counts as nothing. The share is of
// what is measured around each case: on a CPU the register-only fp32 multiply-adds of the same cores, which a bf16 kernel that
// uses matrix units may pass; on a device its product of square matrices.
#pragma once

#include <cstdint>
#include <ostream>
#include <vector>

#include "launcher/bench_machine.h"

namespace longspan {

struct BenchAttentionOptions {
  // All but the first two are measured in turn with another of the same tokens, and print how their rates compare.
  enum class Kind {
    kCausal,     // one sequence; a head for each thread, on a device as many as are 2048 wide
    kFull,       // each query sees every key
    kDocuments,  // 64 documents of uneven length, beside causal tokens that see as much
    kWindow,     // each query sees the last 1024 keys, beside kCausal
    kGroups,     // four query heads on each key head, beside as many on heads of their own; for each thread eight on two
    kOneHead,    // CPU: all threads, but two at least, on one causal head, beside one thread
  };
  struct Case {
    DType dtype = DType::kFloat32;
    int64_t head_dim = 128;
    int64_t num_tokens = 4096;
    Kind kind = Kind::kCausal;
    bool operator==(const Case&) const = default;
  };
  BenchMachine machine = {};
  double min_seconds = 1;  // for each case and direction
  std::vector<Case> cases = {};
  // Of a device, bfloat16: from 4,096 to 131,072 tokens.
  static std::vector<Case> default_cases(DeviceType device);
};

// One line per case and direction. Raises Error(kConfiguration) unless all numbers are positive, and for a kind that the machine
// has not.
void bench_attention(const BenchAttentionOptions& options, std::ostream& out);

}  // namespace longspan
