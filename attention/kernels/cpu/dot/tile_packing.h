// Copies of rows of bfloat16 in the orders that dot_products.h multiplies; what pads them is 0.
#pragma once

#include "attention/kernels/cpu/dot/dot_products.h"

namespace longspan::LS_CPU_LEVEL {

// Hands out one part of a scratch after the other; where there is no scratch, it only counts.
class ScratchParts {
 public:
  explicit ScratchParts(float* begin) : begin_(begin) {}
  float* floats(int64_t n) {
    float* part = begin_ ? begin_ + size_ : nullptr;
    size_ += n;
    return part;
  }
  Pair* pairs(int64_t n) { return reinterpret_cast<Pair*>(floats(n)); }
  int64_t size() const { return size_; }

 private:
  float* begin_;
  int64_t size_ = 0;
};

constexpr int64_t kChunk = 32;  // bfloat16 of a vector

inline int64_t pairs_of(int64_t n) { return (n + 1) / 2; }
inline int64_t chunks_of(int64_t n) { return (n + kChunk - 1) / kChunk; }

// Elements [from, from + kChunk) of a row of n.
inline BitsV load_chunk(const bfloat16* row, int64_t from, int64_t n) {
  const int64_t left = n - from;
  const __mmask32 exist = left >= kChunk ? 0xffffffffu : (1u << left) - 1u;
  return (BitsV)_mm512_maskz_loadu_epi16(exist, row + from);
}

// Rows 2 pair and 2 pair + 1 of num_rows, paired element by element: those of the chunk from `from` on.
inline RowPairs load_row_pairs(Rows<const bfloat16> rows, int64_t num_rows, int64_t pair, int64_t from, int64_t head_dim) {
  const bfloat16* even = rows.data + 2 * pair * rows.stride;
  const BitsV none{};
  return pair_rows(2 * pair < num_rows ? load_chunk(even, from, head_dim) : none,
                   2 * pair + 1 < num_rows ? load_chunk(even + rows.stride, from, head_dim) : none);
}

// copy[r][pair of dims], chunks_of(head_dim) vectors a row, for num_rows rounded up to kRowsAtOnce.
inline void pack_rows(Rows<const bfloat16> rows, int64_t num_rows, int64_t head_dim, Pair* copy) {
  for (int64_t r = 0; r < round_up(num_rows, kRowsAtOnce); ++r) {
    for (int64_t d = 0; d < head_dim; d += kChunk, copy += kWidth) {
      store_pairs(copy, r < num_rows ? load_chunk(rows.data + r * rows.stride, d, head_dim) : BitsV{});
    }
  }
}

// panels[dims by kRowsAtOnce][pair of rows, of `capacity`][dim], for num_rows rounded up to kRowsAtOnce.
inline void pack_row_pairs(Rows<const bfloat16> rows, int64_t num_rows, int64_t head_dim, int64_t capacity, Pair* panels) {
  typedef Pair Eight __attribute__((vector_size(kRowsAtOnce * sizeof(Pair))));
  for (int64_t k = 0; k < round_up(num_rows, kRowsAtOnce) / 2; ++k) {
    for (int64_t d = 0; d < head_dim; d += kChunk) {
      const RowPairs pairs = load_row_pairs(rows, num_rows, k, d, head_dim);
      const Eight eights[] = {__builtin_shufflevector(pairs.low, pairs.low, 0, 1, 2, 3, 4, 5, 6, 7),
                              __builtin_shufflevector(pairs.low, pairs.low, 8, 9, 10, 11, 12, 13, 14, 15),
                              __builtin_shufflevector(pairs.high, pairs.high, 0, 1, 2, 3, 4, 5, 6, 7),
                              __builtin_shufflevector(pairs.high, pairs.high, 8, 9, 10, 11, 12, 13, 14, 15)};
#pragma GCC unroll 4
      for (int64_t e = 0; e < 4; ++e) {
        const int64_t dim = d + e * kRowsAtOnce;
        if (dim < head_dim) std::memcpy(panels + dim * capacity + k * kRowsAtOnce, &eights[e], sizeof(Eight));
      }
    }
  }
}

// blocks[dims by kChunk][pair of rows, of `capacity`][dim], for the rows of a tile.
inline void pack_lane_pairs(Rows<const bfloat16> rows, int64_t num_rows, int64_t head_dim, int64_t capacity, Pair* blocks) {
  for (int64_t d = 0; d < head_dim; d += kChunk, blocks += capacity * kChunk) {
    for (int64_t k = 0; k < kLanes / 2; ++k) {
      const RowPairs pairs = load_row_pairs(rows, num_rows, k, d, head_dim);
      store_pairs(blocks + k * kChunk, pairs.low);
      store_pairs(blocks + k * kChunk + kWidth, pairs.high);
    }
  }
}

// tile[pair of dims][lane]; lanes from num_rows on are 0.
inline void pack_lanes(Rows<const bfloat16> rows, int64_t num_rows, int64_t head_dim, Pair* tile) {
  const int64_t whole = head_dim / 2, num_pairs = pairs_of(head_dim);
  const int64_t quad_rows = num_rows / 4 * 4, quad_pairs = whole / 4 * 4;
  // Four pairs as four floats: nothing is computed with them.
  const auto quad = [&](int64_t i, int64_t k) {
    Quad q;
    std::memcpy(&q, rows.data + i * rows.stride + 2 * k, sizeof q);
    return q;
  };
  for (int64_t i = 0; i < quad_rows; i += 4) {
    for (int64_t k = 0; k < quad_pairs; k += 4) {
      const Quads quads = transposed(quad(i, k), quad(i + 1, k), quad(i + 2, k), quad(i + 3, k));
      for (int e = 0; e < 4; ++e) std::memcpy(tile + (k + e) * kLanes + i, &quads.row[e], sizeof(Quad));
    }
  }
  for (int64_t k = 0; k < num_pairs; ++k) {
    for (int64_t i = k < quad_pairs ? quad_rows : 0; i < kLanes; ++i) {
      Pair pair = 0;
      const bfloat16* from = rows.data + i * rows.stride + 2 * k;
      if (i < num_rows) std::memcpy(&pair, from, k < whole ? sizeof(Pair) : sizeof(bfloat16));
      tile[k * kLanes + i] = pair;
    }
  }
}

}  // namespace longspan::LS_CPU_LEVEL
