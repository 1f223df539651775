// What the tile kernels are asked to do, as raw pointers and sizes. bfloat16 in, float state and gradients.
//
// Layouts. A head's elements are padded with zeros to `padded` dims, queries to tiles of 32, keys to blocks of 128; all
// matrices lie as tiles of 1024 bytes, one after the other in the order in which the products read them:
//   rows        A tiles [16 tokens][32 dims]         per 16 tokens, then dims
//   columns     B tiles [16 pairs of dims][16 tokens]  per 16 tokens, then dims
//   pairs       B tiles [16 pairs of tokens][16 dims]  per 32 tokens, then dims
//   transposed  A tiles [16 dims][32 tokens]         per 32 tokens, then dims
// Everything is computed transposed, lanes are queries: S^T = K Q^T, P^T from S^T in place, O^T += V^T P^T, and backward
// dP^T = V dO^T, dV += P dO, dK += dS Q, dQ^T += K^T dS^T. So the softmax needs no sum across lanes.
#pragma once

#include "attention/kernels/cpu/head_tasks.h"

namespace longspan {

constexpr int64_t kUnitKeys = 32;        // keys of a unit of scores
constexpr int64_t kTileBlockKeys = 128;  // keys of a block: 4 units
constexpr int64_t kSuperBlockElements = 2048 * 128;       // forward: keys x dims that stay in the second cache with V^T
constexpr int64_t kGradientSuperBlockElements = 512 * 128;  // backward: of K, V, K^T, dK and dV
constexpr int64_t kGradientQueries = 256;  // backward: queries of a block, beside two blocks of keys
// Of backward. 512 keys, a super-block of 128 dims, beside 512 queries are loaded once for two uses; tasks that are twice as
// long leave half of 8 threads idle in the causal triangle of 4096 tokens.
constexpr TaskSizes kTileTaskSizes = {
    .backward_tokens = 512, .chunk_tiles = kGradientQueries / kLanes, .piece_keys = 2 * kTileBlockKeys};

// Sizes that the kernels have: 64, and multiples of 128.
constexpr int64_t padded_head_dim(int64_t head_dim) { return head_dim <= 64 ? 64 : (head_dim + 127) / 128 * 128; }
constexpr int64_t rounded_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Rows of one head of which those outside [begin, end) count as zeros and are not read.
struct PackRows {
  const bfloat16* data = nullptr;
  int64_t stride = 0, head_dim = 0;
  int64_t begin = 0, end = 0;
};

// Rows [first, first + count) of a layout; first and count are multiples of 32. Null: not wanted.
struct PackTask {
  PackRows from;
  int64_t first = 0, count = 0, padded = 0;
  bfloat16 *rows = nullptr, *columns = nullptr, *pairs = nullptr, *transposed = nullptr;
};

// The heads that share a key head: [group][..].
template <class T>
struct GroupRows {
  T* data = nullptr;
  int64_t head_stride = 0, stride = 0;
  Rows<T> head(int64_t h) const { return {data + h * head_stride, stride}; }
};

// Keys [first_key, end_key) of one key head, packed from first_key on, a multiple of kTileBlockKeys. Blocks may begin with any
// unit: so many as packed_keys() of its length are there.
struct PackedKeys {
  int64_t first_key = 0, end_key = 0;
  const bfloat16 *rows = nullptr, *values_transposed = nullptr;  // forward
};

constexpr int64_t packed_keys(int64_t num_keys) { return rounded_up(num_keys, kUnitKeys) + kTileBlockKeys - kUnitKeys; }

// Tiles of the query heads of one key head against packed keys. Work i is tile i / group of head i % group.
struct TileForwardTask {
  GroupRows<const bfloat16> q;
  GroupRows<float> output;
  float* lse = nullptr;  // [group][num_queries]
  PackedKeys keys;
  Visibility visible;
  int64_t first = 0, count = 0, group = 1;
  int64_t head_dim = 0;
  float scale = 1;
  float* scratch = nullptr;  // tile_forward_scratch floats, aligned to 64 bytes
  Progress progress;
};
// Of one work of a task, in floats: Q^T in bfloat16, O^T, reference, two sums and bounds by lane. A task has one more for
// the start and end of its pipeline, a block of keys that are zero, and slots for scores and weights.
constexpr int64_t kMostForwardWorks = 128;  // of a task
constexpr int64_t kLaneArrays = 5;
constexpr int64_t tile_forward_work(int64_t padded) { return kLanes * (padded + padded / 2 + kLaneArrays); }
constexpr int64_t tile_forward_scratch(int64_t padded, int64_t count) {
  return (count + 1) * tile_forward_work(padded) + kTileBlockKeys * padded / 2 + 8 * 1024;
}

// A window of queries and keys of one key head, shared by the tasks of backward. Query arrays hold `query_tiles` tiles of
// each head of the group, one head after the other; LSE in base 2, +inf where there is no gradient.
struct GradientWindow {
  int64_t first_query = 0, query_tiles = 0, group = 1;  // first_query: a multiple of kLanes
  int64_t first_key = 0, end_key = 0;                   // first_key: a multiple of kTileBlockKeys
  int64_t head_dim = 0;
  Visibility visible;
  float scale = 1;
  bfloat16 *q_columns = nullptr, *q_pairs = nullptr, *g_columns = nullptr, *g_pairs = nullptr;
  float *lse = nullptr, *delta = nullptr, *dq = nullptr;
  int32_t *begin = nullptr, *length = nullptr;  // what each query sees, [query_tiles * kLanes]
  bfloat16 *k_rows = nullptr, *v_rows = nullptr, *k_transposed = nullptr;
  float *dk = nullptr, *dv = nullptr;  // dv times kFactorOfKey
};

// Tiles [first_tile, end_tile) of all heads of a window against its keys [key_begin, key_end).
struct TileBackwardTask {
  const GradientWindow* window = nullptr;
  int64_t first_tile = 0, end_tile = 0;    // counted from the window's first query; first_tile even
  int64_t key_begin = 0, key_end = 0;      // slots of the shard; key_begin a multiple of kTileBlockKeys
  float* scratch = nullptr;                // kTileBackwardScratch floats, aligned to 64 bytes
  Progress progress;
};
// Sums pending and two slots of S and dP; P and dS row by row, dS in pairs for two blocks of keys, in bfloat16.
constexpr int64_t kTileBackwardScratch = 5 * 1024 + 4 * kTileBlockKeys * kGradientQueries / 2;

// dq rows of one tile, or dk or dv rows of one block of keys, plus what was summed.
struct GradientOutput {
  const float* sums = nullptr;
  Rows<float> to;
  int64_t num_rows = 0, head_dim = 0;
  float factor = 1;
  const float* divisors = nullptr;  // of each row; none: 1
};

// What is compiled for the tile unit, or for its emulation.
struct TileKernels {
  void (*pack)(const PackTask&) = nullptr;
  void (*forward)(const TileForwardTask&) = nullptr;
  void (*backward)(const TileBackwardTask&) = nullptr;
  void (*add_dq)(const GradientOutput&) = nullptr;  // of 32 queries
  void (*add_dkv)(const GradientOutput&) = nullptr;  // of a block of 128 keys
};

namespace amx {
TileKernels tile_kernels();
}  // namespace amx

}  // namespace longspan
