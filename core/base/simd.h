// Vectors for kernels that are compiled once per instruction set (longspan_cpu_kernels). Everything lives in the namespace of
// the level, so that no function of one level can stand in for another's at link time; for the same reason such a source
// includes no header with inline functions of its own besides this.
#pragma once

#ifndef LS_CPU_LEVEL
#error "simd.h is for sources of longspan_cpu_kernels"
#endif

#include <cstdint>
#include <cstring>

namespace longspan::LS_CPU_LEVEL {

#if defined(__AVX512F__)
constexpr int kWidth = 16;
#elif defined(__AVX2__)
constexpr int kWidth = 8;
#else
constexpr int kWidth = 4;
#endif

typedef float FloatV __attribute__((vector_size(kWidth * 4)));
typedef int32_t IntV __attribute__((vector_size(kWidth * 4)));  // also the result of a comparison: 0 or -1

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
inline void store(float* p, FloatV v) { std::memcpy(p, &v, sizeof v); }
inline FloatV broadcast(float x) { return FloatV{} + x; }
inline IntV broadcast(int32_t x) { return IntV{} + x; }
inline FloatV select(IntV mask, FloatV yes, FloatV no) { return mask ? yes : no; }
inline FloatV maximum(FloatV a, FloatV b) { return a > b ? a : b; }
inline bool any(IntV mask) {
  int32_t all = 0;
  for (int i = 0; i < kWidth; ++i) all |= mask[i];
  return all != 0;
}

// 2^x to 2 units in the last place for x in [-126, 128); 0 below, also for -inf. Round to the nearest whole, a
// polynomial for the rest in [-1/2, 1/2] (minimax, relative error 3e-8), and the exponent by adding to its bits.
inline FloatV exp2(FloatV x) {
  const FloatV magic = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number
  const FloatV clamped = maximum(x, broadcast(-126.0f));
  const FloatV shifted = clamped + magic;
  const FloatV f = clamped - (shifted - magic);
  FloatV p = f * 1.5403530e-4f + 1.3333558e-3f;
  p = p * f + 9.6181291e-3f;
  p = p * f + 5.5504109e-2f;
  p = p * f + 2.4022651e-1f;
  p = p * f + 6.9314718e-1f;
  p = p * f + 1.0f;
  const IntV whole = (IntV)shifted - (IntV)magic;
  const FloatV y = (FloatV)((IntV)p + (whole << 23));
  return select(x < broadcast(-126.0f), FloatV{}, y);
}

}  // namespace longspan::LS_CPU_LEVEL
