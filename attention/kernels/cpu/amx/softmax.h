// Forward's vector work: scores of 32 keys x 16 queries become weights p = 2^(s - m), rounded to bfloat16, and their sums.
//
// m is a whole number for each query and lags: it is raised only when the 32 keys of a unit add up to more than 2^20, and then
// everything that was computed with the old one is scaled by a power of two, which is exact. So there is no pass for the
// maximum, and the scale of the sums stays within floats whatever the logits are.
// Two sums are kept: `sum` of p, for LSE; and `weight` of p as rounded, by which O is divided, so that what is averaged are
// weights that add up to 1, and a query that one key decides gets that key's value exactly.
#pragma once

#include "attention/kernels/cpu/amx/tasks.h"
#include "attention/kernels/cpu/amx/vectors.h"

namespace longspan::LS_CPU_LEVEL {

constexpr float kNothingSeen = -1e30f;         // m of a query that has seen no key
constexpr float kRaiseAbove = 1048576.0f;      // 2^20
constexpr int64_t kWeightHalves = 32 * kTileBlockKeys;  // bfloat16 numbers of the weights of a block

// The state of one tile of queries of one head between its blocks; arrays by lane.
struct QueryTile {
  bfloat16* q = nullptr;     // columns
  float* output = nullptr;   // O^T: units of 32 dims x 32 queries
  float *reference = nullptr, *sum = nullptr, *weight = nullptr;
  int32_t *begin = nullptr, *length = nullptr;  // keys it sees
};

// One block of keys against one tile.
struct BlockStep {
  QueryTile* tile = nullptr;
  const bfloat16 *keys = nullptr, *values = nullptr;
  bfloat16* weights = nullptr;  // P^T: B tiles, per 32 keys, then 16 queries
  int64_t first_key = 0;
  bool masked = false;
};

struct ScoreHalf {
  const float* scores;  // of a unit: the 16 queries' column of its tiles
  bfloat16* weights;
  __m512 reference, sum, weight;
  __m512i offset, length;  // key i of the unit is seen where offset + i < length, without sign
};
struct HalfSums {
  __m512 sum, weight;
};

LS_ALWAYS_INLINE ScoreHalf begin_half(const BlockStep& step, const float* slot, int64_t unit, int64_t half) {
  const QueryTile& tile = *step.tile;
  const __m512i key = _mm512_set1_epi32(static_cast<int32_t>(step.first_key + unit * kUnitKeys));
  return {slot + half * kTileFloats,
          step.weights + (unit * 2 + half) * kTileHalves,
          _mm512_load_ps(tile.reference + half * 16),
          _mm512_setzero_ps(),
          _mm512_setzero_ps(),
          _mm512_sub_epi32(key, _mm512_load_si512(tile.begin + half * 16)),
          _mm512_load_si512(tile.length + half * 16)};
}

LS_ALWAYS_INLINE const float* scores_of_key(const ScoreHalf& half, int64_t key) {
  return half.scores + key / 16 * 2 * kTileFloats + key % 16 * 16;
}
LS_ALWAYS_INLINE __mmask16 seeing(const ScoreHalf& half, int64_t key) {
  const __m512i at = _mm512_add_epi32(half.offset, _mm512_set1_epi32(static_cast<int32_t>(key)));
  return _mm512_cmplt_epu32_mask(at, half.length);
}

// Keys 2i and 2i + 1 of a unit.
template <bool kMasked>
LS_ALWAYS_INLINE void weigh_pair(ScoreHalf& half, int64_t i, const Exponential& e) {
  const float* s = scores_of_key(half, 2 * i);
  const __m512 s0 = _mm512_load_ps(s), s1 = _mm512_load_ps(s + 16);
  __m512 p0, p1;
  if (kMasked) {
    p0 = masked_exponential(seeing(half, 2 * i), s0, half.reference, e);
    p1 = masked_exponential(seeing(half, 2 * i + 1), s1, half.reference, e);
  } else {
    p0 = exponential(s0, half.reference, e);
    p1 = exponential(s1, half.reference, e);
  }
  half.sum = _mm512_add_ps(half.sum, _mm512_add_ps(p0, p1));
  const __m512i pair = pair_rounded(p0, p1);
  half.weight = add_pairs(half.weight, pair);
  // Keeps the sums where they are: the compiler would gather them at the end of the unit, and all pairs with them.
  asm volatile("" : "+v"(half.sum), "+v"(half.weight));
  _mm512_store_si512(half.weights + i * 32, pair);
}

template <bool kMasked>
LS_ALWAYS_INLINE void weigh_two_pairs(ScoreHalf& half, int64_t i, const Exponential& e) {
  weigh_pair<kMasked>(half, 2 * i, e);
  weigh_pair<kMasked>(half, 2 * i + 1, e);
}

LS_ALWAYS_INLINE __mmask16 outgrown(const ScoreHalf& half) {
  return _mm512_cmp_ps_mask(half.sum, _mm512_set1_ps(kRaiseAbove), _CMP_NLE_UQ);  // also where it is not a number
}

LS_ALWAYS_INLINE void scale_floats(float* row, int64_t num_rows, __m512 factor) {
  for (int64_t r = 0; r < num_rows; ++r) {
    _mm512_store_ps(row + r * 16, _mm512_mul_ps(factor, _mm512_load_ps(row + r * 16)));
  }
}

// Weights of one half, all units of a block.
inline void scale_weights(bfloat16* weights, int64_t half, __m512 factor) {
  for (int64_t unit = 0; unit < kTileBlockKeys / kUnitKeys; ++unit) {
    for (int64_t r = 0; r < 16; ++r) {
      bfloat16* row = weights + (unit * 2 + half) * kTileHalves + r * 32;
      const __m512i pair = _mm512_load_si512(row);
      const __m512 low = _mm512_castsi512_ps(to_upper_half(pair));
      const __m512 high = _mm512_castsi512_ps(_mm512_and_si512(pair, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
      _mm512_store_si512(row, pair_of_upper_halves(_mm512_mul_ps(low, factor), _mm512_mul_ps(high, factor)));
    }
  }
}

// The reference of lanes that outgrew theirs, after this unit: nothing in it is above 1.
inline __m512 raised_reference(const ScoreHalf& half, __mmask16 lanes, bool masked, const Exponential& e) {
  __m512 top = _mm512_set1_ps(-__builtin_inff());
  for (int64_t key = 0; key < kUnitKeys; ++key) {
    const __m512 s = _mm512_mul_ps(_mm512_load_ps(scores_of_key(half, key)), e.to_base2);
    const __mmask16 seen = masked ? seeing(half, key) : 0xffff;
    top = _mm512_mask_max_ps(top, seen, top, s);
  }
  return _mm512_mask_roundscale_ps(half.reference, lanes, top, 2);
}

}  // namespace longspan::LS_CPU_LEVEL
