// How block attention on the host is cut into tasks for threads: a function of what is seen, never of the number of threads,
// so that every sum has one order.
//
// Forward: strips of tiles; each row of O and LSE belongs to one task, and the longest tasks come first, so that no thread
// ends long after the others.
// Backward: chunks of queries by pieces of keys, about as many of each. A task adds to the rows of dq of its chunk and to those
// of dk and dv of its piece, and tasks that share either run in the order of the list. The list is one of two: chunk c meets
// piece p in wave (c + p) mod size, or (c - p) mod size; either way no two of a wave share rows. The first gives each wave
// of a causal triangle as much work as any other, so that half as many threads as chunks are busy from the first wave to
// the last; the second has all of the diagonal, which is what short documents and windows see, in its first wave.
#pragma once

#include <vector>

#include "attention/kernels/cpu/head_tasks.h"
#include "core/runtime/ordered_tasks.h"

namespace longspan {

struct ForwardStrip {
  int64_t first_tile = 0, num_tiles = 0;
  int64_t num_pairs = 0;  // (query, key) pairs that a kernel computes, masked ones included
};
// Those of each head.
std::vector<ForwardStrip> divide_forward(const KeyIntervals& visible, const TaskSizes& sizes);

struct BackwardCell {
  int64_t kv_head = 0, first_tile = 0, num_tiles = 0, key_begin = 0, key_end = 0;
  int64_t num_pairs = 0;  // for each query head of the group
};
struct BackwardDivision {
  int64_t tiles_per_chunk = 0;             // the most a cell has
  std::vector<BackwardCell> cells;         // only those that see something
  std::vector<OrderedTasks::Holds> holds;  // of each cell: its rows of dq, and its rows of dk and dv
};
// Part of what is seen.
struct BackwardRegion {
  int64_t first_tile = 0, end_tile = 0, key_begin = 0, key_end = 0;
};
// When the last of so many threads would end, if each pair took one unit of time.
int64_t played_time(const BackwardDivision& division, int num_threads);
BackwardDivision divide_backward(const KeyIntervals& visible, const BackwardRegion& region, int64_t num_kv_heads,
                                 const TaskSizes& sizes);
BackwardDivision divide_backward(const KeyIntervals& visible, int64_t num_kv_heads, const TaskSizes& sizes);  // of all

}  // namespace longspan
