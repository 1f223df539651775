// `longspan bench ring`: ring attention over the ranks of this run, and how long its transfers stay exposed.
//
// One causal fp32 sequence under the zigzag layout, forward and backward, with and without moving bytes along between tiles
// (Context::progress). Time is that of the slowest rank, the best of some repetitions; the exposed wait is what a rank
// spends waiting for hops in that repetition, as a share of its time. Operations are counted as in bench_attention.h.
#pragma once

#include <cstdint>
#include <ostream>

#include "core/base/cpu_level.h"
#include "parallel/comm/communicator.h"

namespace longspan {

struct BenchRingOptions {
  CpuLevel level = detect_cpu_level();
  int num_threads = 1;
  int64_t head_dim = 64, num_heads = 4, num_kv_heads = 2;
  int64_t num_tokens = 8192;  // of the whole sequence
  int repetitions = 5;
};

// Collective over `world`; rank 0 prints one line per direction and mode.
void bench_ring(const BenchRingOptions& options, Communicator& world, std::ostream& out);

}  // namespace longspan
