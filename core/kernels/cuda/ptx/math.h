// Conversions and approximate functions.
#pragma once

#include <bit>
#include <cmath>

#include "core/base/bfloat16.h"
#include "core/kernels/cuda/ptx/device.h"

namespace longspan::LS_CUDA {

#if defined(LS_SIMT)
namespace detail {
inline uint32_t rounded_bits(float value) { return std::isnan(value) ? 0x7fffu : bfloat16(value).bits; }
inline float without_subnormal(float value) { return std::fabs(value) < 1.17549435e-38f ? std::copysign(0.0f, value) : value; }
}  // namespace detail
#endif

// A pair of bfloat16, the first in the lower half. Nearest, ties to even; NaN becomes 0x7fff.
LS_DEVICE uint32_t pack_bfloat16(float first, float second) {
  LS_PTX(uint32_t pair; asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first)); return pair;)
  LS_EMULATED(return detail::rounded_bits(first) | detail::rounded_bits(second) << 16;)
}
LS_DEVICE float bits_to_float(uint32_t bits) {
  LS_PTX(return __uint_as_float(bits);)
  LS_EMULATED(return std::bit_cast<float>(bits);)
}
LS_DEVICE int float_to_bits(float value) {
  LS_PTX(return __float_as_int(value);)
  LS_EMULATED(return std::bit_cast<int>(value);)
}
LS_DEVICE float to_float(float value) { return value; }
LS_DEVICE float to_float(bfloat16 value) { return bits_to_float(static_cast<uint32_t>(value.bits) << 16); }

template <class T>
LS_DEVICE T from_float(float value);
template <>
LS_DEVICE float from_float<float>(float value) {
  return value;
}
template <>
LS_DEVICE bfloat16 from_float<bfloat16>(float value) {
  bfloat16 rounded;
  rounded.bits = static_cast<uint16_t>(pack_bfloat16(value, 0.0f));
  return rounded;
}

// 2^x within two units of the last place; subnormal results are 0.
LS_DEVICE float exp2_approximate(float x) {
  LS_PTX(float y; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y;)
  LS_EMULATED(return detail::without_subnormal(std::exp2(detail::without_subnormal(x)));)
}
LS_DEVICE float log2_approximate(float x) {
  LS_PTX(float y; asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y;)
  LS_EMULATED(return std::log2(detail::without_subnormal(x));)
}

LS_DEVICE float square_root(float x) {
  LS_PTX(return sqrtf(x);)
  LS_EMULATED(return std::sqrt(x);)
}
LS_DEVICE int count_bits(uint32_t bits) {
  LS_PTX(return __popc(bits);)
  LS_EMULATED(return std::popcount(bits);)
}

LS_DEVICE float maximum(float a, float b) { return a > b ? a : b; }
template <class T>
LS_DEVICE T least(T a, T b) {
  return a < b ? a : b;
}
template <class T>
LS_DEVICE T most(T a, T b) {
  return a > b ? a : b;
}

}  // namespace longspan::LS_CUDA
