// Pieces of the vectorised kernels: transposition, widening of bfloat16, masks.
#pragma once

#include "attention/kernels/cpu/head_tasks.h"
#include "attention/kernels/cpu/product.h"
#include "core/base/simd.h"

namespace longspan::LS_CPU_LEVEL {

constexpr int kVectors = kLanes / kWidth;  // vectors that hold the lanes of a tile
constexpr float kLog2E = 1.44269504088896341f;
constexpr float kInfinity = __builtin_inff();

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

inline float widen(float x) { return x; }
inline float widen(bfloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float y;
  std::memcpy(&y, &bits, sizeof y);
  return y;
}

template <class T>
inline Rows<T> from_row(Rows<T> rows, int64_t row) {
  return {rows.data + row * rows.stride, rows.stride};
}

// Rows of float as they lie; rows of bfloat16 widened into `scratch`, without gaps.
inline Rows<const float> as_float(Rows<const float> rows, int64_t, int64_t, float*) { return rows; }
inline Rows<const float> as_float(Rows<const bfloat16> rows, int64_t num_rows, int64_t head_dim, float* scratch) {
  for (int64_t r = 0; r < num_rows; ++r) {
    const bfloat16* from = rows.data + r * rows.stride;
    float* to = scratch + r * head_dim;
    int64_t d = 0;
    for (; d + kWidth <= head_dim; d += kWidth) store(to + d, load(from + d));
    for (; d < head_dim; ++d) to[d] = widen(from[d]);
  }
  return {scratch, head_dim};
}

// Four by four numbers at a time, at any level: a transposition is bound by shuffles and stores, not by width.
typedef float Quad __attribute__((vector_size(16)));
struct Quads {
  Quad row[4];
};

inline Quad load_quad(const float* p) {
  Quad q;
  std::memcpy(&q, p, sizeof q);
  return q;
}
inline Quad load_quad(const bfloat16* p) { return Quad{widen(p[0]), widen(p[1]), widen(p[2]), widen(p[3])}; }
inline void store_quad(float* p, Quad q) { std::memcpy(p, &q, sizeof q); }

inline Quads transposed(Quad a, Quad b, Quad c, Quad d) {
  const Quad ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Quad cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  return {{__builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5), __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7),
           __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5), __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7)}};
}
template <class T>
inline Quads load_transposed(const T* p, int64_t stride) {
  return transposed(load_quad(p), load_quad(p + stride), load_quad(p + 2 * stride), load_quad(p + 3 * stride));
}

// tile[d][i] = factor * rows[i][d] for the lanes i < num_rows; the others are 0.
template <class T>
inline void transpose_in(Rows<const T> rows, int64_t num_rows, int64_t head_dim, float factor, float* tile) {
  const int64_t quad_rows = num_rows / 4 * 4, quad_dims = head_dim / 4 * 4;
  for (int64_t i = 0; i < quad_rows; i += 4) {
    for (int64_t d = 0; d < quad_dims; d += 4) {
      const Quads quads = load_transposed(rows.data + i * rows.stride + d, rows.stride);
      for (int e = 0; e < 4; ++e) store_quad(tile + (d + e) * kLanes + i, quads.row[e] * factor);
    }
  }
  for (int64_t d = 0; d < head_dim; ++d) {
    for (int64_t i = d < quad_dims ? quad_rows : 0; i < num_rows; ++i) {
      tile[d * kLanes + i] = factor * widen(rows.data[i * rows.stride + d]);
    }
    for (int64_t i = num_rows; i < kLanes; ++i) tile[d * kLanes + i] = 0;
  }
}

// rows[i][d] (+)= factors[i] * tile[d][i] for the lanes i < num_rows.
template <Sum kSum>
inline void transpose_out(const float* tile, int64_t num_rows, int64_t head_dim, const float* factors, Rows<float> rows) {
  const int64_t quad_rows = num_rows / 4 * 4, quad_dims = head_dim / 4 * 4;
  for (int64_t i = 0; i < quad_rows; i += 4) {
    for (int64_t d = 0; d < quad_dims; d += 4) {
      const Quads quads = load_transposed(tile + d * kLanes + i, kLanes);
      for (int e = 0; e < 4; ++e) {
        float* row = rows.data + (i + e) * rows.stride + d;
        const Quad sum = quads.row[e] * factors[i + e];
        store_quad(row, kSum == Sum::kAccumulate ? load_quad(row) + sum : sum);
      }
    }
  }
  for (int64_t i = 0; i < num_rows; ++i) {
    float* row = rows.data + i * rows.stride;
    for (int64_t d = i < quad_rows ? quad_dims : 0; d < head_dim; ++d) {
      const float sum = tile[d * kLanes + i] * factors[i];
      row[d] = kSum == Sum::kAccumulate ? row[d] + sum : sum;
    }
  }
}

// Tiles are computed whole where all lanes see the same keys, and by halves at the edges of what they see.
constexpr int64_t kHalfLanes = kLanes / 2;
constexpr int kHalfVectors = kVectors / 2;

struct KeySpan {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
  bool empty() const { return begin >= end; }
};
inline KeySpan common(KeySpan a, KeySpan b) { return {larger(a.begin, b.begin), smaller(a.end, b.end)}; }

// A tile's interval bounds, padded with lanes that see nothing, and for each half of the lanes what any and what all of
// those see that exist.
struct LaneBounds {
  alignas(64) int32_t begin[kLanes], end[kLanes];
  LaneBounds() = default;
  KeySpan any[2], all[2];

  LaneBounds(const Visibility& visible, int64_t first_query) {
    for (int half = 0; half < 2; ++half) {
      any[half] = {INT32_MAX, 0};
      all[half] = {0, INT32_MAX};
      for (int64_t i = half * kHalfLanes; i < (half + 1) * kHalfLanes; ++i) {
        const bool exists = first_query + i < visible.num_queries;
        begin[i] = exists ? visible.begin[first_query + i] : 0;
        end[i] = exists ? visible.end[first_query + i] : 0;
        if (exists) all[half] = common(all[half], {begin[i], end[i]});
        if (begin[i] < end[i]) any[half] = {smaller(any[half].begin, begin[i]), larger(any[half].end, end[i])};
      }
    }
  }
};

// Of the lanes of vector v, those that see key j.
inline IntV sees(const LaneBounds& bounds, int v, int64_t j) {
  const IntV key = broadcast(static_cast<int32_t>(j));
  return (load(bounds.begin + v * kWidth) <= key) & (key < load(bounds.end + v * kWidth));
}

inline bool all_see(const KeyIntervals::Tile& tile, int64_t begin, int64_t end) {
  return begin >= tile.all_begin && end <= tile.all_end;
}

// At an edge: calls whole(part) for the keys that some lane of either half sees, half(lane, part) for those that only the
// lanes of one half see, which begins at `lane`.
template <class Whole, class Half>
inline void for_edge_parts(const LaneBounds& bounds, KeySpan keys, const Whole& whole, const Half& half) {
  const KeySpan seen[2] = {common(keys, bounds.any[0]), common(keys, bounds.any[1])};
  const KeySpan both = common(seen[0], seen[1]);
  if (!both.empty()) whole(both);
  for (int h = 0; h < 2; ++h) {
    if (seen[h].empty()) continue;
    const KeySpan before = both.empty() ? seen[h] : KeySpan{seen[h].begin, both.begin};
    const KeySpan after = both.empty() ? KeySpan{} : KeySpan{both.end, seen[h].end};
    if (!before.empty()) half(h * kHalfLanes, before);
    if (!after.empty()) half(h * kHalfLanes, after);
  }
}

// Calls body(key, v) for the vectors of lanes [lane, lane + num_lanes) of which some may not see the key.
template <class Body>
inline void for_masked(const LaneBounds& bounds, KeySpan keys, int64_t lane, int64_t num_lanes, const Body& body) {
  const auto each = [&](int half, KeySpan part) {
    for (int64_t j = part.begin; j < part.end; ++j) {
      for (int v = half * kHalfVectors; v < (half + 1) * kHalfVectors; ++v) body(j, v);
    }
  };
  for (auto half = static_cast<int>(lane / kHalfLanes); half * kHalfLanes < lane + num_lanes; ++half) {
    const KeySpan inner = common(keys, bounds.all[half]);
    each(half, inner.empty() ? keys : KeySpan{keys.begin, inner.begin});
    if (!inner.empty()) each(half, {inner.end, keys.end});
  }
}

}  // namespace longspan::LS_CPU_LEVEL
