// Products of bfloat16 by bfloat16, summed in fp32: every instruction multiplies and adds two pairs a lane.
//
// A pair is two bfloat16 that follow one another along the dim that is summed over, the earlier in the low half. One
// operand is broadcast pair by pair, the other is rows of pairs; tile_packing.h makes both.
#pragma once

#include "attention/kernels/cpu/tile_ops.h"

namespace longspan::LS_CPU_LEVEL {

typedef uint32_t Pair;
constexpr int kRowsAtOnce = 8;  // of two vectors each: sixteen sums hide the latency, and the rest of the registers is free

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

inline BitsV load_pairs(const Pair* p) {
  BitsV v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void store_pairs(Pair* p, BitsV v) { std::memcpy(p, &v, sizeof v); }

inline FloatV add_dot(FloatV sum, BitsV a, BitsV b) {
  return (FloatV)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}

// The broadcast operand: the pair of row r and depth k is data[r * row + k * depth].
struct Broadcasts {
  const Pair* data;
  int64_t row, depth;
};

// sum[r][..] += sum over k < n of a(r, k) . b[k][..]
template <int kNumVectors>
inline __attribute__((always_inline)) void add_dots(Broadcasts a, const Pair* b, int64_t b_stride, int64_t n,
                                                    FloatV (&sum)[kRowsAtOnce][kNumVectors]) {
#pragma GCC unroll 2
  for (int64_t k = 0; k < n; ++k) {
    BitsV pairs[kNumVectors];
    for (int v = 0; v < kNumVectors; ++v) pairs[v] = load_pairs(b + k * b_stride + v * kWidth);
#pragma GCC unroll 8
    for (int r = 0; r < kRowsAtOnce; ++r) {
      const BitsV one = BitsV{} + a.data[r * a.row + k * a.depth];
      for (int v = 0; v < kNumVectors; ++v) sum[r][v] = add_dot(sum[r][v], one, pairs[v]);
    }
  }
}

// c[r][..] += the same, for kRowsAtOnce rows in memory; or, if told to assign, = the same.
template <int kNumVectors>
inline __attribute__((always_inline)) void add_dots_to(Broadcasts a, const Pair* b, int64_t b_stride, int64_t n, float* c,
                                                       int64_t c_stride, bool assigns = false) {
  FloatV sum[kRowsAtOnce][kNumVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRowsAtOnce; ++r) {
    for (int v = 0; v < kNumVectors; ++v) sum[r][v] = assigns ? FloatV{} : load(c + r * c_stride + v * kWidth);
  }
  add_dots<kNumVectors>(a, b, b_stride, n, sum);
#pragma GCC unroll 8
  for (int r = 0; r < kRowsAtOnce; ++r) {
    for (int v = 0; v < kNumVectors; ++v) store(c + r * c_stride + v * kWidth, sum[r][v]);
  }
}

// 2^x, relative error 2.7e-6, for what is rounded to bfloat16 (4e-3 apart) anyway: LSE, made of the same numbers, needs more
// than that rounding. 0 for -inf; a NaN stays a NaN. The polynomial is the best of its degree for 2^f, f in [0, 1).
inline FloatV exp2_for_rounding(FloatV x) {
  const FloatV f = (FloatV)_mm512_maskz_reduce_ps(0xffff, (__m512)x, 1);  // above the whole number below x
  FloatV p = f * 1.35341790e-2f + 5.20114936e-2f;
  p = p * f + 2.41442695e-1f;
  p = p * f + 6.93003833e-1f;
  p = p * f + 1.00000262f;
  return (FloatV)_mm512_maskz_scalef_ps(0xffff, (__m512)p, (__m512)x);
}

// The lanes of two vectors side by side, rounded to nearest: pairs of neighbouring lanes.
inline BitsV round_lanes(FloatV low, FloatV high) { return (BitsV)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low); }

// From two rows of 32 rounded lanes, pairs of rows: lanes 0 to 15, and 16 to 31.
struct RowPairs {
  BitsV low, high;
};
inline RowPairs pair_rows(BitsV even, BitsV odd) {
  typedef uint16_t HalfV __attribute__((vector_size(64)));
  const HalfV a = (HalfV)even, b = (HalfV)odd;
  const HalfV low = __builtin_shufflevector(a, b, 0, 32, 1, 33, 2, 34, 3, 35, 4, 36, 5, 37, 6, 38, 7, 39, 8, 40, 9, 41, 10,
                                            42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47);
  const HalfV high = __builtin_shufflevector(a, b, 16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55, 24, 56, 25,
                                             57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63);
  return {(BitsV)low, (BitsV)high};
}

// The same from two rows of 16 rounded lanes, one behind the other.
inline BitsV pair_halves(BitsV rows) {
  typedef uint16_t HalfV __attribute__((vector_size(64)));
  const HalfV x = (HalfV)rows;
  return (BitsV)__builtin_shufflevector(x, x, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9, 25, 10, 26,
                                        11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

// What is computed at once: groups of kRowsAtOnce keys, counted from the first of a block, against the lanes of some vectors,
// one or both, from `first` on.
struct Part {
  KeySpan groups;
  int first;
};

// Groups that hold some of these keys.
inline KeySpan groups_of(KeySpan keys, int64_t first_key) {
  if (keys.empty()) return {};
  return {(keys.begin - first_key) / kRowsAtOnce, (keys.end - first_key + kRowsAtOnce - 1) / kRowsAtOnce};
}

// Whether all lanes of kNum vectors from `first` on see the whole group of keys from `key` on.
template <int kNum>
inline bool all_lanes_see(const LaneBounds& bounds, int first, int64_t key) {
  const KeySpan all = common(bounds.all[first], bounds.all[first + kNum - 1]);
  return key >= all.begin && key + kRowsAtOnce <= all.end;
}

}  // namespace longspan::LS_CPU_LEVEL
