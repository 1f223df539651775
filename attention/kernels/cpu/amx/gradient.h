// Backward's vector work: of 32 keys x 32 queries, S^T and dP^T become p = 2^(s - LSE) and ds = p (dp - delta), rounded to
// bfloat16. Both are wanted with queries side by side, for dV += P dO and dK += dS Q, p times kFactorOfKey, and ds also in pairs
// of keys, for dQ^T += K^T dS^T.
#pragma once

#include "attention/kernels/cpu/amx/tasks.h"
#include "attention/kernels/cpu/amx/vectors.h"
#include "attention/kernels/key_factors.h"

namespace longspan::LS_CPU_LEVEL {

// 16 queries.
struct GradientHalf {
  __m512 lse, delta;
  __m512i offset, length;  // key i of the unit is seen where offset + i < length, without sign
};

struct GradientUnit {
  const float *scores, *dp;    // units
  const float* factors;        // of p, by key
  bfloat16 *p, *ds;            // A tiles: the keys of one tile; those of the next are `second` further
  int64_t second;
  bfloat16* ds_pairs;          // two B tiles
  GradientHalf low, high;
};

struct GradientPair {
  __m512 p0, p1, ds0, ds1;
};

// Keys 2j and 2j + 1 for one half of the queries.
template <bool kMasked>
LS_ALWAYS_INLINE GradientPair gradient_of_pair(const float* scores, const float* dp, const GradientHalf& half, int64_t j,
                                               const Exponential& e) {
  const int64_t at = j / 8 * 2 * kTileFloats + j % 8 * 32;
  const __m512 s0 = _mm512_load_ps(scores + at), s1 = _mm512_load_ps(scores + at + 16);
  const __m512 dp0 = _mm512_sub_ps(_mm512_load_ps(dp + at), half.delta);
  const __m512 dp1 = _mm512_sub_ps(_mm512_load_ps(dp + at + 16), half.delta);
  GradientPair pair;
  if (kMasked) {
    const __m512i key = _mm512_add_epi32(half.offset, _mm512_set1_epi32(static_cast<int32_t>(2 * j)));
    const __mmask16 seen0 = _mm512_cmplt_epu32_mask(key, half.length);
    const __mmask16 seen1 =
        _mm512_cmplt_epu32_mask(_mm512_add_epi32(key, _mm512_set1_epi32(1)), half.length);
    pair.p0 = masked_exponential(seen0, s0, half.lse, e);
    pair.p1 = masked_exponential(seen1, s1, half.lse, e);
    pair.ds0 = _mm512_maskz_mul_ps(seen0, pair.p0, dp0);
    pair.ds1 = _mm512_maskz_mul_ps(seen1, pair.p1, dp1);
  } else {
    pair.p0 = exponential(s0, half.lse, e);
    pair.p1 = exponential(s1, half.lse, e);
    pair.ds0 = _mm512_mul_ps(pair.p0, dp0);
    pair.ds1 = _mm512_mul_ps(pair.p1, dp1);
  }
  return pair;
}

template <bool kMasked>
LS_ALWAYS_INLINE void gradient_of_keys(const GradientUnit& unit, int64_t j, const Exponential& e) {
  const GradientPair first = gradient_of_pair<kMasked>(unit.scores, unit.dp, unit.low, j, e);
  const GradientPair last =
      gradient_of_pair<kMasked>(unit.scores + kTileFloats, unit.dp + kTileFloats, unit.high, j, e);
  const int64_t row = j / 8 * unit.second + j % 8 * 64;
  const __m512 factor0 = _mm512_set1_ps(unit.factors[2 * j]), factor1 = _mm512_set1_ps(unit.factors[2 * j + 1]);
  _mm512_store_si512(unit.p + row, join_rounded(_mm512_mul_ps(first.p0, factor0), _mm512_mul_ps(last.p0, factor0)));
  _mm512_store_si512(unit.p + row + 32, join_rounded(_mm512_mul_ps(first.p1, factor1), _mm512_mul_ps(last.p1, factor1)));
  _mm512_store_si512(unit.ds + row, join_rounded(first.ds0, last.ds0));
  _mm512_store_si512(unit.ds + row + 32, join_rounded(first.ds1, last.ds1));
  _mm512_store_si512(unit.ds_pairs + j * 32, pair_rounded(first.ds0, first.ds1));
  _mm512_store_si512(unit.ds_pairs + kTileHalves + j * 32, pair_rounded(last.ds0, last.ds1));
}

// Where no query sees any of the keys.
inline void no_gradient(const GradientUnit& unit) {
  const __m512i zero = _mm512_setzero_si512();
  for (int64_t j = 0; j < 16; ++j) {
    const int64_t row = j / 8 * unit.second + j % 8 * 64;
    _mm512_store_si512(unit.p + row, zero);
    _mm512_store_si512(unit.p + row + 32, zero);
    _mm512_store_si512(unit.ds + row, zero);
    _mm512_store_si512(unit.ds + row + 32, zero);
    _mm512_store_si512(unit.ds_pairs + j * 32, zero);
    _mm512_store_si512(unit.ds_pairs + kTileHalves + j * 32, zero);
  }
}

}  // namespace longspan::LS_CPU_LEVEL
