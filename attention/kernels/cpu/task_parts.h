// What the drivers of the vectorised kernels and of those on tiles hand to their tasks. Not for sources of
// longspan_cpu_kernels.
#pragma once

#include "attention/kernels/cpu/head_tasks.h"
#include "core/runtime/context.h"

namespace longspan {

inline Visibility visibility_of(const KeyIntervals& intervals) {
  return {.tiles = intervals.tiles().data(),
          .begin = intervals.begin().data(),
          .end = intervals.end().data(),
          .num_queries = intervals.num_queries()};
}

// Long tasks keep communication moving, on the rank's own thread.
inline Progress progress_of(const Context& context, int thread) {
  if (thread != 0) return {};
  return {.call = [](const void* c) { static_cast<const Context*>(c)->progress(); }, .argument = &context};
}

}  // namespace longspan
