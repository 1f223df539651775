// Pieces of the vectorised kernels: widening of bfloat16, edges and masks.
#pragma once

#include "attention/kernels/cpu/head_tasks.h"
#include "attention/kernels/cpu/product.h"
#include "attention/kernels/cpu/transposition.h"
#include "core/base/simd.h"

namespace longspan::LS_CPU_LEVEL {

constexpr int kVectors = kLanes / kWidth;  // vectors that hold the lanes of a tile
constexpr float kLog2E = 1.44269504088896341f;
constexpr float kInfinity = __builtin_inff();

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

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
    const int64_t n = smaller(kLanes, visible.num_queries - first_query);
    const size_t num_bytes = static_cast<size_t>(n) * sizeof(int32_t);
    std::memset(begin, 0, sizeof begin);
    std::memset(end, 0, sizeof end);
    std::memcpy(begin, visible.begin + first_query, num_bytes);
    std::memcpy(end, visible.end + first_query, num_bytes);
    for (int half = 0; half < 2; ++half) set_half(half, static_cast<int32_t>(n));
  }

  // As if there were no keys from `key` on.
  void end_at(int64_t key) {
    const auto last = static_cast<int32_t>(key);
    for (int32_t& e : end) e = e < last ? e : last;
    for (int half = 0; half < 2; ++half) {
      any[half].end = smaller(any[half].end, key);
      all[half].end = smaller(all[half].end, key);
    }
  }

 private:
  // In 32 bits and without branches, which compilers turn into vectors.
  void set_half(int half, int32_t num_lanes) {
    int32_t any_begin = INT32_MAX, any_end = 0, all_begin = 0, all_end = INT32_MAX;
    for (int32_t i = static_cast<int32_t>(half * kHalfLanes); i < (half + 1) * kHalfLanes; ++i) {
      const int32_t b = begin[i], e = end[i];
      const bool sees_some = b < e, exists = i < num_lanes;
      const int32_t some_begin = sees_some ? b : INT32_MAX, some_end = sees_some ? e : 0;
      const int32_t its_begin = exists ? b : 0, its_end = exists ? e : INT32_MAX;
      any_begin = some_begin < any_begin ? some_begin : any_begin;
      any_end = some_end > any_end ? some_end : any_end;
      all_begin = its_begin > all_begin ? its_begin : all_begin;
      all_end = its_end < all_end ? its_end : all_end;
    }
    any[half] = {any_begin, any_end};
    all[half] = {all_begin, all_end};
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

// At an edge, where the halves of the lanes see `seen`: calls whole(part) for what some lane of either half sees,
// half(lane, part) for what only the lanes of one half see, which begins at `lane`.
template <class Whole, class Half>
inline void for_edge_parts(const KeySpan (&seen)[2], const Whole& whole, const Half& half) {
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
template <class Whole, class Half>
inline void for_edge_parts(const LaneBounds& bounds, KeySpan keys, const Whole& whole, const Half& half) {
  for_edge_parts({common(keys, bounds.any[0]), common(keys, bounds.any[1])}, whole, half);
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
