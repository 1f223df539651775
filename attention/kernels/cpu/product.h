// The products of the vectorised kernels: rows of broadcast numbers times vectors, summed in registers.
#pragma once

#include "attention/kernels/cpu/head_tasks.h"
#include "core/base/simd.h"

namespace longspan::LS_CPU_LEVEL {

// Rows summed at a time, times two vectors: as many as fit the level's registers (32, 16; of the portable level 32 on Arm,
// else 16) beside two vectors of b and one of a; where products are not fused they need registers, too.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kRows = 8;
#elif defined(__AVX2__)
constexpr int kRows = 6;
#else
constexpr int kRows = 4;
#endif

enum class Operand { kRowMajor, kColumnMajor };  // a(r, k) at a[r * stride + k], or at a[r + k * stride]
enum class Sum { kAssign, kAccumulate };

// a and the vectors b and c of c[r][..] (+)= sum over k < n of a(r, k) * b[k][..]; strides in floats.
struct ProductOperands {
  const float* a;
  int64_t a_stride;
  const float* b;
  int64_t b_stride;
  int64_t n;
  float* c;
  int64_t c_stride;
};

// For kNum rows and kVectors vectors next to one another.
template <int kNum, int kVectors, Operand kOperand, Sum kSum>
inline __attribute__((always_inline)) void product_rows(const ProductOperands& x) {
  FloatV sum[kNum][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kNum; ++r) {
    for (int h = 0; h < kVectors; ++h) {
      sum[r][h] = kSum == Sum::kAccumulate ? load(x.c + r * x.c_stride + h * kWidth) : FloatV{};
    }
  }
  const int64_t row = kOperand == Operand::kRowMajor ? x.a_stride : 1;
  const int64_t column = kOperand == Operand::kRowMajor ? 1 : x.a_stride;
#pragma GCC unroll 2
  for (int64_t k = 0; k < x.n; ++k) {
    FloatV b[kVectors];
    for (int h = 0; h < kVectors; ++h) b[h] = load(x.b + k * x.b_stride + h * kWidth);
#pragma GCC unroll 16
    for (int r = 0; r < kNum; ++r) {
      const FloatV a = broadcast(x.a[r * row + k * column]);
      for (int h = 0; h < kVectors; ++h) sum[r][h] += a * b[h];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kNum; ++r) {
    for (int h = 0; h < kVectors; ++h) store(x.c + r * x.c_stride + h * kWidth, sum[r][h]);
  }
}

// What is called after some rows have been computed, where that is nothing.
struct Nothing {
  void operator()() const {}
};

// For any number of rows; of one vector twice as many at a time. Few rows at a time would wait for their own sums, so what is
// assigned, not added to, is rather computed twice.
template <int kVectors, Operand kOperand, Sum kSum, class Between = Nothing>
inline void product_columns(ProductOperands x, int64_t num_rows, const Between& between = {}) {
  const auto advance = [&](int64_t rows) {
    between();
    x.a += rows * (kOperand == Operand::kRowMajor ? x.a_stride : 1);
    x.c += rows * x.c_stride;
  };
  const bool repeats = kSum == Sum::kAssign && num_rows >= kRows;
  constexpr int kAtOnce = kVectors == 1 ? 2 * kRows : kRows;
  for (; num_rows >= kAtOnce; num_rows -= kAtOnce) {
    product_rows<kAtOnce, kVectors, kOperand, kSum>(x);
    advance(kAtOnce);
  }
  for (; num_rows >= kRows; num_rows -= kRows) {
    product_rows<kRows, kVectors, kOperand, kSum>(x);
    advance(kRows);
  }
  if (repeats && num_rows > 0) {
    advance(num_rows - kRows);
    return product_rows<kRows, kVectors, kOperand, kSum>(x);
  }
  if (num_rows & 4) {
    product_rows<4, kVectors, kOperand, kSum>(x);
    advance(4);
  }
  if (num_rows & 2) {
    product_rows<2, kVectors, kOperand, kSum>(x);
    advance(2);
  }
  if (num_rows & 1) product_rows<1, kVectors, kOperand, kSum>(x);
}

// c[r][lanes] (+)= sum over k of a(r, k) * b[k][lanes] for kNumLanes lanes, where b and c are [..][kLanes].
template <Operand kOperand, Sum kSum, int64_t kNumLanes = kLanes, class Between = Nothing>
inline void product(Rows<const float> a, int64_t num_rows, const float* b, int64_t n, float* c,
                    const Between& between = {}) {
  constexpr int kAtOnce = kNumLanes < 2 * kWidth ? 1 : 2;
  for (int64_t lane = 0; lane < kNumLanes; lane += kAtOnce * kWidth) {
    product_columns<kAtOnce, kOperand, kSum>({a.data, a.stride, b + lane, kLanes, n, c + lane, kLanes}, num_rows, between);
  }
}

// c[r][d] += sum over lanes i of a[r][i] * b[i][d], where a is [..][kLanes]: scores times queries, for dk and dv.
inline void product_by_lanes(const float* a, int64_t num_rows, Rows<const float> b, int64_t head_dim, int64_t num_lanes,
                             Rows<float> c) {
  constexpr Operand kScores = Operand::kRowMajor;
  int64_t d = 0;
  for (; d + 2 * kWidth <= head_dim; d += 2 * kWidth) {
    product_columns<2, kScores, Sum::kAccumulate>(
        {a, kLanes, b.data + d, b.stride, num_lanes, c.data + d, c.stride}, num_rows);
  }
  if (d + kWidth <= head_dim) {
    product_columns<1, kScores, Sum::kAccumulate>(
        {a, kLanes, b.data + d, b.stride, num_lanes, c.data + d, c.stride}, num_rows);
    d += kWidth;
  }
  if (d == head_dim) return;
  // The last dims do not fill a vector: they go through padded copies, so that nothing outside the rows is touched.
  const size_t num_bytes = static_cast<size_t>(head_dim - d) * sizeof(float);
  alignas(64) float padded_b[kLanes * kWidth] = {}, padded_c[kWidth] = {};
  for (int64_t i = 0; i < num_lanes; ++i) std::memcpy(padded_b + i * kWidth, b.data + i * b.stride + d, num_bytes);
  for (int64_t r = 0; r < num_rows; ++r) {
    product_rows<1, 1, kScores, Sum::kAssign>({a + r * kLanes, kLanes, padded_b, kWidth, num_lanes, padded_c, kWidth});
    for (int64_t e = d; e < head_dim; ++e) c.data[r * c.stride + e] += padded_c[e - d];
  }
}

}  // namespace longspan::LS_CPU_LEVEL
