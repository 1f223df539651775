// What the benchmarks share: how a case is timed, and what it is fed.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/runtime/context.h"
#include "launcher/peak.h"

namespace longspan {

inline double clock_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Seconds of the fastest call of `body` within about min_seconds, three at least; by CPU time on one thread, by the clock
// on several.
template <class Body>
double best_seconds(int num_threads, double min_seconds, const Body& body) {
  const auto now = num_threads == 1 ? thread_cpu_seconds : clock_seconds;
  double best = INFINITY, total = 0;
  for (int i = 0; i < 3 || total < min_seconds; ++i) {
    const double start = now();
    body();
    const double seconds = now() - start;
    best = std::min(best, seconds);
    total += seconds;
  }
  return best;
}

// Normal numbers, float32 or bfloat16; `name` is the key of the draw.
Tensor random_tensor(const Context& context, const Shape& shape, DType dtype, const char* name);

}  // namespace longspan
