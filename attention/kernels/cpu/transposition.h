// Transposition of the rows of a tile, [query][dim], to [dim][lane] and back: four columns at a time.
#pragma once

#include "attention/kernels/cpu/product.h"

namespace longspan::LS_CPU_LEVEL {

inline float widen(float x) { return x; }
inline float widen(bfloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float y;
  std::memcpy(&y, &bits, sizeof y);
  return y;
}

// Four numbers that follow one another in a row. A vector is some quads side by side, each of another row.
typedef float Quad __attribute__((vector_size(16)));
constexpr int kQuads = kWidth / 4;

inline Quad load_quad(const float* p) {
  Quad q;
  std::memcpy(&q, p, sizeof q);
  return q;
}
inline Quad load_quad(const bfloat16* p) {
  typedef uint16_t HalfQuad __attribute__((vector_size(8)));
  typedef uint32_t BitsQuad __attribute__((vector_size(16)));
  HalfQuad half;
  std::memcpy(&half, p, sizeof half);
  return (Quad)(__builtin_convertvector(half, BitsQuad) << 16);
}

// Shuffles within the quads of two vectors: elements 0 and 1, or 2 and 3, of each, in turn; and their lower or upper halves.
#if defined(__AVX512F__)
inline FloatV joined(const Quad (&q)[kQuads]) {
  __m512 v = _mm512_zextps128_ps512((__m128)q[0]);
  v = _mm512_mask_broadcast_f32x4(v, 0x00f0, (__m128)q[1]);
  v = _mm512_mask_broadcast_f32x4(v, 0x0f00, (__m128)q[2]);
  return (FloatV)_mm512_mask_broadcast_f32x4(v, 0xf000, (__m128)q[3]);
}
inline FloatV low_in_turn(FloatV a, FloatV b) { return (FloatV)_mm512_maskz_unpacklo_ps(0xffff, (__m512)a, (__m512)b); }
inline FloatV high_in_turn(FloatV a, FloatV b) { return (FloatV)_mm512_maskz_unpackhi_ps(0xffff, (__m512)a, (__m512)b); }
inline FloatV lower_halves(FloatV a, FloatV b) { return (FloatV)_mm512_maskz_shuffle_ps(0xffff, (__m512)a, (__m512)b, 0x44); }
inline FloatV upper_halves(FloatV a, FloatV b) { return (FloatV)_mm512_maskz_shuffle_ps(0xffff, (__m512)a, (__m512)b, 0xee); }
#elif defined(__AVX2__)
inline FloatV joined(const Quad (&q)[kQuads]) { return __builtin_shufflevector(q[0], q[1], 0, 1, 2, 3, 4, 5, 6, 7); }
inline FloatV low_in_turn(FloatV a, FloatV b) { return (FloatV)_mm256_unpacklo_ps((__m256)a, (__m256)b); }
inline FloatV high_in_turn(FloatV a, FloatV b) { return (FloatV)_mm256_unpackhi_ps((__m256)a, (__m256)b); }
inline FloatV lower_halves(FloatV a, FloatV b) { return (FloatV)_mm256_shuffle_ps((__m256)a, (__m256)b, 0x44); }
inline FloatV upper_halves(FloatV a, FloatV b) { return (FloatV)_mm256_shuffle_ps((__m256)a, (__m256)b, 0xee); }
#else
inline FloatV joined(const Quad (&q)[kQuads]) { return q[0]; }
inline FloatV low_in_turn(FloatV a, FloatV b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
inline FloatV high_in_turn(FloatV a, FloatV b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }
inline FloatV lower_halves(FloatV a, FloatV b) { return __builtin_shufflevector(a, b, 0, 1, 4, 5); }
inline FloatV upper_halves(FloatV a, FloatV b) { return __builtin_shufflevector(a, b, 2, 3, 6, 7); }
#endif

struct Columns {
  FloatV column[4];
};

// The four columns of kWidth rows of a quad each. Every fourth row shares a vector, so no shuffle crosses a quad.
template <class QuadOfRow>
inline __attribute__((always_inline)) Columns load_columns(const QuadOfRow& quad_of_row) {
  FloatV rows[4];
#pragma GCC unroll 4
  for (int r = 0; r < 4; ++r) {
    Quad quads[kQuads];
#pragma GCC unroll 4
    for (int i = 0; i < kQuads; ++i) quads[i] = quad_of_row(4 * i + r);
    rows[r] = joined(quads);
  }
  const FloatV low01 = low_in_turn(rows[0], rows[1]), high01 = high_in_turn(rows[0], rows[1]);
  const FloatV low23 = low_in_turn(rows[2], rows[3]), high23 = high_in_turn(rows[2], rows[3]);
  return {{lower_halves(low01, low23), upper_halves(low01, low23), lower_halves(high01, high23),
           upper_halves(high01, high23)}};
}

// tile[d][i] = factor * rows[i][d] for the lanes i < num_rows; the others are 0.
template <class T>
inline void transpose_in(Rows<const T> rows, int64_t num_rows, int64_t head_dim, float factor, float* tile) {
  const int64_t whole_rows = num_rows / kWidth * kWidth, whole_dims = head_dim / 4 * 4;
  for (int64_t i = 0; i < whole_rows; i += kWidth) {
    for (int64_t d = 0; d < whole_dims; d += 4) {
      const Columns columns =
          load_columns([&](int64_t row) { return load_quad(rows.data + (i + row) * rows.stride + d); });
#pragma GCC unroll 4
      for (int e = 0; e < 4; ++e) store(tile + (d + e) * kLanes + i, columns.column[e] * factor);
    }
  }
  if (whole_rows == kLanes && whole_dims == head_dim) return;
  for (int64_t d = 0; d < head_dim; ++d) {
    for (int64_t i = d < whole_dims ? whole_rows : 0; i < num_rows; ++i) {
      tile[d * kLanes + i] = factor * widen(rows.data[i * rows.stride + d]);
    }
    for (int64_t i = num_rows; i < kLanes; ++i) tile[d * kLanes + i] = 0;
  }
}

// rows[i][d] (+)= factors[i] * tile[d][i] for the lanes i < num_rows.
template <Sum kSum>
inline void transpose_out(const float* tile, int64_t num_rows, int64_t head_dim, const float* factors, Rows<float> rows) {
  const int64_t whole_rows = num_rows / 4 * 4, whole_dims = head_dim / kWidth * kWidth;
  for (int64_t i = 0; i < whole_rows; i += 4) {
    for (int64_t d = 0; d < whole_dims; d += kWidth) {
      const Columns columns = load_columns([&](int64_t dim) { return load_quad(tile + (d + dim) * kLanes + i); });
#pragma GCC unroll 4
      for (int e = 0; e < 4; ++e) {
        float* row = rows.data + (i + e) * rows.stride + d;
        const FloatV sum = columns.column[e] * factors[i + e];
        store(row, kSum == Sum::kAccumulate ? load(row) + sum : sum);
      }
    }
  }
  for (int64_t i = 0; i < num_rows; ++i) {
    float* row = rows.data + i * rows.stride;
    for (int64_t d = i < whole_rows ? whole_dims : 0; d < head_dim; ++d) {
      const float sum = tile[d * kLanes + i] * factors[i];
      row[d] = kSum == Sum::kAccumulate ? row[d] + sum : sum;
    }
  }
}

}  // namespace longspan::LS_CPU_LEVEL
