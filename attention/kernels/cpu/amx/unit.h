// A unit: 2 x 2 tiles of a product, with other work between its tile multiplications.
//
// The tile unit multiplies in 16 cycles and runs beside the vector unit, but only as far apart as the processor looks ahead;
// so vector work is handed out in small pieces, one after each multiplication. The sums of a unit stay in tiles 0 to 3 and
// are stored while the next unit begins, which by then has the next operands under way; 0 and 1 are finished first.
#pragma once

#include "attention/kernels/cpu/amx/tiles.h"
#include "core/base/bfloat16.h"

#define LS_ALWAYS_INLINE inline __attribute__((always_inline))

namespace longspan::LS_CPU_LEVEL {

constexpr int64_t kTileHalves = 512;   // bfloat16 numbers of a tile
constexpr int64_t kTileFloats = 256;   // floats of a tile
constexpr int64_t kUnitFloats = 1024;  // of the sums of a unit: tiles (a0 b0), (a0 b1), (a1 b0), (a1 b1)

enum class Begin { kZero, kSums };  // sums begin at 0, or at what `c` holds

// Two rows of tiles a and two columns of tiles b; distances in numbers.
struct UnitOperands {
  const bfloat16* a;
  int64_t a_second, a_step;  // to the second row of tiles, to the next tile of a row
  const bfloat16* b;
  int64_t b_second, b_step;
  const float* c = nullptr;
};

LS_ALWAYS_INLINE void store_first_sums(float* to) {
  store_tile<0>(to);
  store_tile<1>(to + kTileFloats);
}
LS_ALWAYS_INLINE void store_last_sums(float* to) {
  store_tile<2>(to + 2 * kTileFloats);
  store_tile<3>(to + 3 * kTileFloats);
}
LS_ALWAYS_INLINE void store_sums(float* to) {
  store_first_sums(to);
  store_last_sums(to);
}
LS_ALWAYS_INLINE void load_sums(const float* from) {
  load_tile<0>(from);
  load_tile<1>(from + kTileFloats);
  load_tile<2>(from + 2 * kTileFloats);
  load_tile<3>(from + 3 * kTileFloats);
}
LS_ALWAYS_INLINE void zero_sums() {
  zero_tile<0>();
  zero_tile<1>();
  zero_tile<2>();
  zero_tile<3>();
}

// kSteps tiles deep, at least 2; 0: `steps` deep. `pending` is where the sums of the unit before belong. `between(i)` is
// called after multiplication i of 4 kSteps.
template <int kSteps, Begin kBegin, class Between>
LS_ALWAYS_INLINE void multiply_unit(float* pending, const UnitOperands& x, int64_t steps, Between between) {
  const bfloat16 *a = x.a, *b = x.b;
  const int64_t a_second = x.a_second, b_second = x.b_second, a_step = x.a_step, b_step = x.b_step;
  int i = 0;
  store_first_sums(pending);
  if constexpr (kBegin == Begin::kSums) {
    load_tile<0>(x.c);
    load_tile<1>(x.c + kTileFloats);
  } else {
    zero_tile<0>();
    zero_tile<1>();
  }
  stream_tile<4>(a);
  load_tile<6>(b);
  multiply_tiles<0, 4, 6>();
  between(i++);
  load_tile<7>(b + b_second);
  multiply_tiles<1, 4, 7>();
  between(i++);
  stream_tile<4>(a + a_step);
  load_tile<6>(b + b_step);
  multiply_tiles<0, 4, 6>();
  between(i++);
  load_tile<7>(b + b_second + b_step);
  multiply_tiles<1, 4, 7>();
  between(i++);
  store_last_sums(pending);
  if constexpr (kBegin == Begin::kSums) {
    load_tile<2>(x.c + 2 * kTileFloats);
    load_tile<3>(x.c + 3 * kTileFloats);
  } else {
    zero_tile<2>();
    zero_tile<3>();
  }
  stream_tile<5>(a + a_second + a_step);
  multiply_tiles<2, 5, 6>();
  between(i++);
  multiply_tiles<3, 5, 7>();
  between(i++);
  const auto step = [&](int64_t k) __attribute__((always_inline)) {
    stream_tile<4>(a + k * a_step);
    load_tile<6>(b + k * b_step);
    multiply_tiles<0, 4, 6>();
    between(i++);
    load_tile<7>(b + b_second + k * b_step);
    multiply_tiles<1, 4, 7>();
    between(i++);
    stream_tile<5>(a + a_second + k * a_step);
    multiply_tiles<2, 5, 6>();
    between(i++);
    multiply_tiles<3, 5, 7>();
    between(i++);
  };
  if constexpr (kSteps == 0) {
    for (int64_t k = 2; k < steps; ++k) step(k);
  } else {
#pragma GCC unroll 8
    for (int k = 2; k < kSteps; ++k) step(k);
  }
  // The first tiles of the last two sums come at the end, when 0 and 1 are on their way out.
  stream_tile<5>(a + a_second);
  load_tile<6>(b);
  multiply_tiles<2, 5, 6>();
  between(i++);
  load_tile<7>(b + b_second);
  multiply_tiles<3, 5, 7>();
  between(i++);
}

}  // namespace longspan::LS_CPU_LEVEL
