// Vectors for kernels that are compiled once per instruction set (longspan_cpu_kernels). Everything lives in the namespace
// of the level, so that no function of one level can stand in for another's at link time; for the same reason such a
// source uses no inline function of any other header.
//
// Arithmetic is that of GCC's vector extensions; `a * b + c` becomes one instruction where the level has it.
#pragma once

#ifndef LS_CPU_LEVEL
#error "simd.h is for sources of longspan_cpu_kernels"
#endif

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include <cstdint>
#include <cstring>

#include "core/base/bfloat16.h"

namespace longspan::LS_CPU_LEVEL {

// Of the intrinsics, the forms that zero what their mask leaves out: g++ 12 takes the others to read uninitialised values.
#if defined(__AVX512F__)
constexpr int kWidth = 16;
#elif defined(__AVX2__)
constexpr int kWidth = 8;
#else
constexpr int kWidth = 4;
#endif

typedef float FloatV __attribute__((vector_size(kWidth * 4)));
typedef int32_t IntV __attribute__((vector_size(kWidth * 4)));  // also the result of a comparison: 0 or -1
typedef uint32_t BitsV __attribute__((vector_size(kWidth * 4)));

inline FloatV load(const float* p) {
  FloatV v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline IntV load(const int32_t* p) {
  IntV v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline FloatV load(const bfloat16* p) {
  // with intrinsics where there are some: g++ 12 puts a vector of 16 together from two
#if defined(__AVX512F__)
  __m256i half;
  std::memcpy(&half, p, sizeof half);
  return (FloatV)_mm512_maskz_slli_epi32(0xffff, _mm512_maskz_cvtepu16_epi32(0xffff, half), 16);
#elif defined(__AVX2__)
  __m128i half;
  std::memcpy(&half, p, sizeof half);
  return (FloatV)_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16);
#else
  typedef uint16_t HalfV __attribute__((vector_size(kWidth * 2)));
  HalfV half;
  std::memcpy(&half, p, sizeof half);
  return (FloatV)(__builtin_convertvector(half, BitsV) << 16);
#endif
}
inline void store(float* p, FloatV v) { std::memcpy(p, &v, sizeof v); }
inline FloatV broadcast(float x) { return x - FloatV{}; }  // x + 0 would turn -0 to 0, which costs an addition
inline IntV broadcast(int32_t x) { return IntV{} + x; }
inline FloatV select(IntV mask, FloatV yes, FloatV no) { return mask ? yes : no; }

// b where either is not a number.
inline FloatV maximum(FloatV a, FloatV b) {
#if defined(__AVX512F__)
  return (FloatV)_mm512_maskz_max_ps(0xffff, (__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (FloatV)_mm256_max_ps((__m256)a, (__m256)b);
#else
  return a > b ? a : b;
#endif
}

inline bool any(IntV mask) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask((__m512i)mask) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps((__m256)mask) != 0;
#else
  int32_t all = 0;
  for (int i = 0; i < kWidth; ++i) all |= mask[i];
  return all != 0;
#endif
}

// Lanes are added pairwise, in one order.
inline float horizontal_sum(FloatV v) {
#if defined(__AVX2__)  // in registers: a row's sum is waited for
#if defined(__AVX512F__)
  const __m256 of8 = _mm512_maskz_extractf32x8_ps(0xff, (__m512)v, 0) + _mm512_maskz_extractf32x8_ps(0xff, (__m512)v, 1);
#else
  const __m256 of8 = (__m256)v;
#endif
  const __m128 of4 = _mm256_castps256_ps128(of8) + _mm256_extractf128_ps(of8, 1), of2 = of4 + _mm_movehl_ps(of4, of4);
  return of2[0] + of2[1];
#else
  float lanes[kWidth];
  store(lanes, v);
  for (int n = kWidth / 2; n > 0; n /= 2) {
    for (int i = 0; i < n; ++i) lanes[i] += lanes[i + n];
  }
  return lanes[0];
#endif
}

// 2^x within 2 units in the last place for x in [-126, 127]; 0 below, also for -inf; a NaN stays a NaN. x is rounded to
// a whole n, a polynomial (interpolated in Chebyshev's points, relative error 2e-8) gives 2^(x - n), and n is put in place.
inline FloatV exp2(FloatV x) {
  const FloatV lowest = broadcast(-126.0f);
#if defined(__AVX512F__)
  const FloatV f = (FloatV)_mm512_maskz_reduce_ps(0xffff, (__m512)x, 0);  // x - n; 0 for -inf
#else
  const FloatV magic = broadcast(12582912.0f);  // 1.5 * 2^23: adding it leaves n in the low bits
  const FloatV above = x < lowest ? lowest : x;
  const FloatV bounded = above > 127.0f ? broadcast(127.0f) : above;
  const FloatV shifted = bounded + magic;
  const FloatV f = bounded - (shifted - magic);
#endif
  FloatV p = f * 1.54614449e-4f + 1.34004280e-3f;
  p = p * f + 9.61805694e-3f;
  p = p * f + 5.55032715e-2f;
  p = p * f + 2.40226507e-1f;
  p = p * f + 6.93147182e-1f;
  p = p * f + 1.0f;
#if defined(__AVX512F__)
  const __mmask16 not_low = _mm512_cmp_ps_mask((__m512)x, (__m512)lowest, _CMP_NLT_UQ);
  return (FloatV)_mm512_maskz_scalef_ps(not_low, (__m512)p, (__m512)(x - f));
#else
  const BitsV exponent = ((BitsV)shifted - (BitsV)magic + 127u) << 23;
  return x < lowest ? FloatV{} : p * (FloatV)exponent;
#endif
}

}  // namespace longspan::LS_CPU_LEVEL
