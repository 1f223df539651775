// The work of one head, as the vectorised kernels (one copy per instruction set) receive it: raw pointers and sizes only.
// Rows are tokens; a row's head_dim elements are adjacent, rows are a stride apart.
//
// Layout of the computation: lanes are queries. Scores, O and dQ are kept transposed, [key or dim][32 queries], so that
// softmax needs no sum across lanes, keys and values are read as they lie and broadcast, and only queries are transposed.
#pragma once

#include <cstdint>

#include "attention/kernels/key_intervals.h"
#include "core/base/bfloat16.h"

namespace longspan {

constexpr int64_t kLanes = KeyIntervals::kTileQueries;  // queries of a tile
constexpr int64_t kForwardTiles = 4;                    // tiles that share a block of keys in cache, of float kernels
constexpr int64_t kBlockKeys = 64;                      // keys of a tile of scores
constexpr int64_t kSuperBlockKeys = 256;                // backward: keys whose k, v, dk, dv stay in cache

template <class T>
struct Rows {
  T* data = nullptr;
  int64_t stride = 0;
};

// Which keys the queries of one shard see; arrays over all of them.
struct Visibility {
  const KeyIntervals::Tile* tiles = nullptr;
  const int32_t* begin = nullptr;
  const int32_t* end = nullptr;
  int64_t num_queries = 0;
};

struct Progress {
  void (*call)(const void*) = nullptr;  // null: none
  const void* argument = nullptr;
};

// What the thread is likely to do after a task, as rows that it may fetch into its cache meanwhile. No result depends on it.
template <class T>
struct Upcoming {
  Rows<const T> q, k, v;  // from the first that is wanted on
  int64_t num_queries = 0, num_keys = 0;
};

// Some tiles of one query head against all keys.
template <class T>
struct ForwardTask {
  Rows<const T> q, k, v;
  Rows<float> output;
  float* lse = nullptr;  // [num_queries]
  Visibility visible;
  int64_t first_tile = 0, num_tiles = 0;  // at most sizes.forward_tiles
  int64_t head_dim = 0;
  float scale = 1;
  float* scratch = nullptr;  // aligned as vectors like it
  Progress progress;
  Upcoming<T> upcoming;
};
constexpr int64_t vector_forward_scratch(int64_t head_dim) {
  return 2 * kForwardTiles * head_dim * kLanes + kBlockKeys * kLanes + 2 * kBlockKeys * head_dim;
}

// Some tiles of one query head against keys [key_begin, key_end).
template <class T>
struct BackwardTask {
  Rows<const T> q, k, v, doutput;
  const float* lse = nullptr;    // [num_queries]
  const float* delta = nullptr;  // [num_queries]
  Rows<float> dq, dk, dv;        // accumulated
  Visibility visible;
  int64_t first_tile = 0, num_tiles = 0;
  int64_t key_begin = 0, key_end = 0;
  int64_t head_dim = 0;
  float scale = 1;
  float* scratch = nullptr;  // aligned as vectors like it
  Progress progress;
};
constexpr int64_t vector_backward_scratch(int64_t num_tiles, int64_t head_dim) {
  return num_tiles * (3 * head_dim + 2) * kLanes + 2 * kBlockKeys * kLanes + 2 * (kSuperBlockKeys + kLanes) * head_dim;
}

// sums[i] = sum over d of output[i][d] * doutput[i][d].
template <class Output, class T>
struct DeltaTask {
  Rows<const Output> output;
  Rows<const T> doutput;
  int64_t num_rows = 0, head_dim = 0;
  float* sums = nullptr;
};

// How much work a task should have.
struct TaskSizes {
  int64_t forward_tiles = kForwardTiles;
  int64_t backward_tokens = 512;  // queries, and keys; with fewer, opening and closing tiles shows
  int64_t chunk_tiles = 1, piece_keys = kBlockKeys;  // backward: what the kernel does at once, which a task has a multiple of
};

// What one instruction set offers.
template <class T>
struct HeadKernels {
  TaskSizes sizes;
  void (*forward)(const ForwardTask<T>&) = nullptr;
  void (*backward)(const BackwardTask<T>&) = nullptr;
  void (*delta)(const DeltaTask<T, T>&) = nullptr;
  void (*delta_of_accumulator)(const DeltaTask<float, T>&) = nullptr;
  // Floats of scratch.
  int64_t (*forward_scratch)(int64_t head_dim) = nullptr;
  int64_t (*backward_scratch)(int64_t num_tiles, int64_t head_dim) = nullptr;
};

namespace portable {
HeadKernels<float> float_kernels();
HeadKernels<bfloat16> bfloat16_kernels();
}  // namespace portable
namespace avx2 {
HeadKernels<float> float_kernels();
HeadKernels<bfloat16> bfloat16_kernels();
}  // namespace avx2
namespace avx512 {
HeadKernels<float> float_kernels();
HeadKernels<bfloat16> bfloat16_kernels();
}  // namespace avx512
namespace avx512_bf16 {
HeadKernels<bfloat16> bfloat16_kernels();
}  // namespace avx512_bf16

}  // namespace longspan
