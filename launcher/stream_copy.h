// The yardstick of kernels that only move memory: STREAM's copy (McCalpin 1995), measured in the same run.
//
// Each thread of a context copies its own array, and the arrays together are far larger than the last-level cache. As in
// STREAM, the bytes read and the bytes written count, not the lines that a processor reads in order to overwrite them.
// Ordinary stores cause such reads, non-temporal stores do not: both are measured, and the peak is the faster.
#pragma once

#include "core/runtime/context.h"

namespace longspan {

struct CopyRates {
  double cached = 0, streaming = 0;  // GB/s of all threads together: with ordinary and with non-temporal stores
  double read = 0;                   // the same of a loop that only reads
};

class StreamCopy {
 public:
  // Keeps the context, and allocates the arrays.
  explicit StreamCopy(const Context& context);
  // The best of some repetitions; takes some tenths of a second. One thread is timed by its CPU time, several by the clock.
  const CopyRates& measure();
  // GB/s of one copy with the stores that were faster in `measure`; for comparing within a moment.
  double once() const;

 private:
  enum class Pass { kCached, kStreaming, kRead };
  double rate(Pass pass) const;

  const Context& context_;
  int64_t num_bytes_;  // of one array of a thread
  Tensor from_, to_;   // [threads, bytes]
  CopyRates rates_;
};

}  // namespace longspan
