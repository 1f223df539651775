// Vectors of elements as they are stored, and e^x, on top of simd.h; for the loops whose arithmetic outweighs
// their memory traffic. The others are plain loops that the compiler vectorises.
#pragma once

#include "core/base/simd.h"
#include "core/kernels/cpu/vector/loops.h"

namespace longspan::LS_CPU_LEVEL {

typedef uint16_t ShortV __attribute__((vector_size(kWidth * 2)));

inline void store_narrow(float* p, FloatV v) {
  store(p, v);
}
// Rounds as narrow<bfloat16>.
inline void store_narrow(bfloat16* p, FloatV v) {
  const BitsV u = (BitsV)v;
  const BitsV rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16, nan = (u >> 16) | 0x40u;
  const ShortV bits = __builtin_convertvector((u & 0x7fffffffu) > 0x7f800000u ? nan : rounded, ShortV);
  __builtin_memcpy(static_cast<void*>(p), &bits, sizeof bits);
}

// The first `count` elements and zeros; the same arithmetic serves the end of a row and its middle.
template <class T>
FloatV load_part(const T* p, int64_t count) {
  T buffer[kWidth] = {};
  __builtin_memcpy(static_cast<void*>(buffer), p, static_cast<size_t>(count) * sizeof(T));
  return load(buffer);
}
template <class T>
void store_part(T* p, int64_t count, FloatV v) {
  T buffer[kWidth];
  store_narrow(buffer, v);
  __builtin_memcpy(static_cast<void*>(p), buffer, static_cast<size_t>(count) * sizeof(T));
}

// Within 2 ulp; 0 below -86.6 (e^x < 2.5e-38), infinite above 88.72; a NaN stays a NaN.
// Not exp2(x * log2 e), whose rounded argument costs up to 80 ulp.
// x = n ln 2 + r with |r| <= ln 2 / 2, and the polynomial for e^r of Cephes' expf (Moshier 1989).
inline FloatV exponential(FloatV x) {
  const FloatV low = broadcast(-86.6f), high = broadcast(88.7228317f), round = broadcast(0x1.8p23f);
  FloatV bounded = select(x < low, low, x);
  bounded = select(bounded > high, high, bounded);
  const FloatV shifted = bounded * 1.44269504f + round, n = shifted - round;
  const FloatV r = (bounded - n * 0.693359375f) - n * -2.12194440e-4f;
  FloatV p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  // 2^(n-1) and then 2, as 2^128 is no float; unsigned, as a NaN's bits are any
  const BitsV exponent = ((BitsV)shifted - (BitsV)round + 126u) << 23;
  const FloatV result = p * (FloatV)exponent * 2.0f;
  return select(x > high, broadcast(__builtin_inff()), select(x < low, FloatV{}, result));
}

}  // namespace longspan::LS_CPU_LEVEL
