// e^x for the vectorised loops: written so that the compiler turns it into straight vector code.
#pragma once

#include <cstdint>

namespace longspan::LS_CPU_LEVEL {

// Within 2 ulp; 0 below -86.6 (e^x < 2.5e-38), infinite above 88.72; a NaN stays a NaN.
// x = n ln 2 + r with |r| <= ln 2 / 2, and the polynomial for e^r of Cephes' expf (Moshier 1989).
inline float exponential(float x) {
  constexpr float kLow = -86.6f, kHigh = 88.7228317f, kLog2E = 1.44269504f, kLn2High = 0.693359375f;
  constexpr float kLn2Low = -2.12194440e-4f, kRound = 0x1.8p23f;  // adding it leaves the nearest integer in the low bits
  float bounded = x < kLow ? kLow : x;
  bounded = bounded > kHigh ? kHigh : bounded;
  const float shifted = bounded * kLog2E + kRound, n = shifted - kRound;
  const float r = (bounded - n * kLn2High) - n * kLn2Low;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  // 2^(n-1) and then 2, as 2^128 is no float
  const uint32_t exponent = __builtin_bit_cast(uint32_t, shifted) - __builtin_bit_cast(uint32_t, kRound) + 126u;
  const float result = p * __builtin_bit_cast(float, exponent << 23) * 2.0f;
  const float not_small = x < kLow ? 0.0f : result;
  return x > kHigh ? __builtin_inff() : not_small;
}

}  // namespace longspan::LS_CPU_LEVEL
