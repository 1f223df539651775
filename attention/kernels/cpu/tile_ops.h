// Pieces of the vectorised kernels: the product of a tile, transposition, widening of bfloat16, masks.
#pragma once

#include "attention/kernels/cpu/head_tasks.h"
#include "core/base/simd.h"

namespace longspan::LS_CPU_LEVEL {

constexpr int kPairs = kLanes / (2 * kWidth);  // pairs of vectors that hold the lanes of a tile
#if defined(__AVX512F__)
constexpr int kRows = 8;  // rows of a product that are summed in registers, times two vectors
#else
constexpr int kRows = 4;
#endif

enum class Operand { kRowMajor, kColumnMajor };  // a(r, k) at a[r * stride + k], or at a[r + k * stride]
enum class Sum { kAssign, kAccumulate };

// c[r][lanes] (+)= sum over k of a(r, k) * b[k][lanes], for N rows and two vectors of lanes.
template <int N, Operand kOperand, Sum kSum>
inline __attribute__((always_inline)) void product_rows(const float* a, int64_t a_stride, const float* b, int64_t n,
                                                        float* c, int64_t b_stride, int64_t c_stride) {
  FloatV sum[N][2];
#pragma GCC unroll 8
  for (int r = 0; r < N; ++r) {
    for (int h = 0; h < 2; ++h) {
      sum[r][h] = kSum == Sum::kAccumulate ? load(c + r * c_stride + h * kWidth) : FloatV{};
    }
  }
  const int64_t row = kOperand == Operand::kRowMajor ? a_stride : 1;
  const int64_t column = kOperand == Operand::kRowMajor ? 1 : a_stride;
#pragma GCC unroll 2
  for (int64_t k = 0; k < n; ++k) {
    const FloatV b0 = load(b + k * b_stride), b1 = load(b + k * b_stride + kWidth);
#pragma GCC unroll 8
    for (int r = 0; r < N; ++r) {
      const FloatV x = broadcast(a[r * row + k * column]);
      sum[r][0] += x * b0;
      sum[r][1] += x * b1;
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < N; ++r) {
    for (int h = 0; h < 2; ++h) store(c + r * c_stride + h * kWidth, sum[r][h]);
  }
}

// The same for any number of rows and all the lanes of a tile (b and c are [..][kLanes]).
template <Operand kOperand, Sum kSum>
inline void product(const float* a, int64_t a_stride, int64_t num_rows, const float* b, int64_t n, float* c) {
  const int64_t row = kOperand == Operand::kRowMajor ? a_stride : 1;
  int64_t r = 0;
  for (; r + kRows <= num_rows; r += kRows) {
    for (int p = 0; p < kPairs; ++p) {
      product_rows<kRows, kOperand, kSum>(a + r * row, a_stride, b + p * 2 * kWidth, n, c + r * kLanes + p * 2 * kWidth,
                                          kLanes, kLanes);
    }
  }
  for (; r < num_rows; ++r) {
    for (int p = 0; p < kPairs; ++p) {
      product_rows<1, kOperand, kSum>(a + r * row, a_stride, b + p * 2 * kWidth, n, c + r * kLanes + p * 2 * kWidth,
                                      kLanes, kLanes);
    }
  }
}

// c[r][d] += sum over lanes i of a[r][i] * b[i][d]: rows of scores times rows of queries, for dk and dv.
inline void product_by_lanes(const float* a, int64_t num_rows, const float* b, int64_t b_stride, int64_t head_dim,
                             int64_t num_lanes, float* c, int64_t c_stride) {
  int64_t d = 0;
  for (; d + 2 * kWidth <= head_dim; d += 2 * kWidth) {
    int64_t r = 0;
    for (; r + kRows <= num_rows; r += kRows) {
      product_rows<kRows, Operand::kRowMajor, Sum::kAccumulate>(a + r * kLanes, kLanes, b + d, num_lanes,
                                                                c + r * c_stride + d, b_stride, c_stride);
    }
    for (; r < num_rows; ++r) {
      product_rows<1, Operand::kRowMajor, Sum::kAccumulate>(a + r * kLanes, kLanes, b + d, num_lanes,
                                                            c + r * c_stride + d, b_stride, c_stride);
    }
  }
  for (; d < head_dim; ++d) {
    for (int64_t r = 0; r < num_rows; ++r) {
      float sum = c[r * c_stride + d];
      for (int64_t i = 0; i < num_lanes; ++i) sum += a[r * kLanes + i] * b[i * b_stride + d];
      c[r * c_stride + d] = sum;
    }
  }
}

inline float widen(float x) { return x; }
inline float widen(bfloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float y;
  std::memcpy(&y, &bits, sizeof y);
  return y;
}

// Rows of float as they lie; rows of bfloat16 widened into `scratch`, without gaps.
inline Rows<const float> as_float(Rows<const float> rows, int64_t, int64_t, float*) { return rows; }
inline Rows<const float> as_float(Rows<const bfloat16> rows, int64_t num_rows, int64_t head_dim, float* scratch) {
  for (int64_t r = 0; r < num_rows; ++r) {
    for (int64_t d = 0; d < head_dim; ++d) scratch[r * head_dim + d] = widen(rows.data[r * rows.stride + d]);
  }
  return {scratch, head_dim};
}

// transposed[d][i] = factor * rows[i][d]; lanes past num_rows are 0.
template <class T>
inline void transpose_in(Rows<const T> rows, int64_t num_rows, int64_t head_dim, float factor, float* transposed) {
  for (int64_t d = 0; d < head_dim; ++d) {
    for (int64_t i = 0; i < num_rows; ++i) transposed[d * kLanes + i] = factor * widen(rows.data[i * rows.stride + d]);
    for (int64_t i = num_rows; i < kLanes; ++i) transposed[d * kLanes + i] = 0;
  }
}

// Of the lanes of vector v, those that see key j. begin and end are padded to kLanes.
inline IntV sees(const int32_t* begin, const int32_t* end, int v, int64_t j) {
  const IntV key = broadcast(static_cast<int32_t>(j));
  return (load(begin + v * kWidth) <= key) & (key < load(end + v * kWidth));
}

// Copies of a tile's interval bounds, padded with lanes that see nothing.
struct LaneBounds {
  alignas(64) int32_t begin[kLanes], end[kLanes];
  LaneBounds(const Visibility& visible, int64_t first_query) {
    for (int64_t i = 0; i < kLanes; ++i) {
      const bool exists = first_query + i < visible.num_queries;
      begin[i] = exists ? visible.begin[first_query + i] : 0;
      end[i] = exists ? visible.end[first_query + i] : 0;
    }
  }
};

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
inline bool all_see(const KeyIntervals::Tile& tile, int64_t begin, int64_t end) {
  return begin >= tile.all_begin && end <= tile.all_end;
}

}  // namespace longspan::LS_CPU_LEVEL
