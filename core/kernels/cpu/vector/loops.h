// For the sources compiled once per instruction set: how elements are read and written, and what each source
// gives to the table. Everything is in the namespace of the level: an inline function shared between levels
// would be one the linker picks, perhaps of an instruction set that the machine lacks. So no standard library
// here either.
#pragma once

#include "core/kernels/cpu/vector_loops.h"

namespace longspan::LS_CPU_LEVEL {

using cpu::VectorLoops;

inline float widen(float value) {
  return value;
}
inline float widen(bfloat16 value) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(value.bits) << 16);
}

template <class T>
T narrow(float value);
template <>
inline float narrow<float>(float value) {
  return value;
}
// As bfloat16's constructor: to nearest, ties to even, a NaN stays a NaN.
template <>
inline bfloat16 narrow<bfloat16>(float value) {
  const uint32_t u = __builtin_bit_cast(uint32_t, value);
  const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16, nan = (u >> 16) | 0x40u;
  const auto bits = static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
  return __builtin_bit_cast(bfloat16, bits);
}

inline int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}

template <class T>
void add_activation(VectorLoops<T>& loops);
template <class T>
void add_elementwise(VectorLoops<T>& loops);
template <class T>
void add_loss(VectorLoops<T>& loops);
template <class T>
void add_normalization(VectorLoops<T>& loops);
template <class T>
void add_optimizer(VectorLoops<T>& loops);
template <class T>
void add_rotary(VectorLoops<T>& loops);

}  // namespace longspan::LS_CPU_LEVEL
