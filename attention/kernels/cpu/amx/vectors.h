// Vector work beside the tiles: 2^x as accurately as bfloat16 can show, rounding to bfloat16, transposition of 16 x 16.
#pragma once

#include <immintrin.h>

#include "attention/kernels/cpu/amx/unit.h"
#include "attention/kernels/cpu/head_tasks.h"

namespace longspan::LS_CPU_LEVEL {

// Denormals count as zero, as they do in tiles: weights that small are worth nothing, and slow. Not so within a progress
// hook, which may add up other people's numbers.
class FlushDenormals {
 public:
  FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | kFlush); }
  ~FlushDenormals() { _mm_setcsr(before_); }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

  void call(const Progress& progress) const {
    if (progress.call == nullptr) return;
    _mm_setcsr(before_);
    progress.call(progress.argument);
    _mm_setcsr(before_ | kFlush);
  }

 private:
  static constexpr unsigned kFlush = 0x8040;  // FTZ, DAZ
  unsigned before_;
};

// 2^y = 2^floor(y) poly(y - floor(y)) with relative error 7.5e-5, the least that a cubic can have; 0 for -inf, a NaN stays a
// NaN. y = s * to_base2 - reference.
struct Exponential {
  __m512 to_base2, c3, c2, c1, c0;
  explicit Exponential(float scale_to_base2)
      : to_base2(_mm512_set1_ps(scale_to_base2)), c3(_mm512_set1_ps(0.07802452f)), c2(_mm512_set1_ps(0.22606716f)),
        c1(_mm512_set1_ps(0.69583356f)), c0(_mm512_set1_ps(0.99992520f)) {}
};

LS_ALWAYS_INLINE __m512 polynomial(__m512 y, const Exponential& e) {
  const __m512 f = _mm512_maskz_reduce_ps(0xffff, y, 1);
  __m512 p = _mm512_fmadd_ps(e.c3, f, e.c2);
  p = _mm512_fmadd_ps(p, f, e.c1);
  return _mm512_fmadd_ps(p, f, e.c0);
}
LS_ALWAYS_INLINE __m512 exponential(__m512 s, __m512 reference, const Exponential& e) {
  const __m512 y = _mm512_fmsub_ps(s, e.to_base2, reference);
  return _mm512_maskz_scalef_ps(0xffff, polynomial(y, e), y);
}
LS_ALWAYS_INLINE __m512 masked_exponential(__mmask16 lanes, __m512 s, __m512 reference, const Exponential& e) {
  const __m512 y = _mm512_fmsub_ps(s, e.to_base2, reference);
  return _mm512_maskz_scalef_ps(lanes, polynomial(y, e), y);
}

LS_ALWAYS_INLINE __m512i upper_half(__m512i x) { return _mm512_maskz_srli_epi32(0xffff, x, 16); }
LS_ALWAYS_INLINE __m512i to_upper_half(__m512i x) { return _mm512_maskz_slli_epi32(0xffff, x, 16); }

// Dword i: the upper halves of `low` (below) and `high` (above), which cuts them to bfloat16.
LS_ALWAYS_INLINE __m512i pair_of_upper_halves(__m512 low, __m512 high) {
  return _mm512_mask_blend_epi16(0xaaaaaaaa, upper_half(_mm512_castps_si512(low)), _mm512_castps_si512(high));
}
// The same, rounded half up in size; not for numbers so close to the end of the range that a NaN's bits could wrap.
LS_ALWAYS_INLINE __m512i pair_rounded(__m512 low, __m512 high) {
  const __m512i half = _mm512_set1_epi32(0x8000);
  return pair_of_upper_halves(_mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(low), half)),
                              _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(high), half)));
}

#if defined(__AVX512BF16__)

// 32 bfloat16, `first` before `second`, rounded to nearest even.
LS_ALWAYS_INLINE __m512i join_rounded(__m512 first, __m512 second) {
  return (__m512i)_mm512_cvtne2ps_pbh(second, first);
}
// sums + both numbers of each pair.
LS_ALWAYS_INLINE __m512 add_pairs(__m512 sums, __m512i pairs) {
  return _mm512_dpbf16_ps(sums, (__m512bh)pairs, (__m512bh)_mm512_set1_epi32(0x3f803f80));
}

#else

LS_ALWAYS_INLINE __m256i rounded(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x), one = _mm512_set1_epi32(1);
  const __m512i odd = _mm512_and_si512(upper_half(bits), one);
  __m512i y = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  y = _mm512_mask_or_epi32(y, nan, bits, _mm512_set1_epi32(0x00400000));
  const __mmask16 tiny = _mm512_testn_epi32_mask(bits, _mm512_set1_epi32(0x7f800000));  // counts as zero
  y = _mm512_mask_and_epi32(y, tiny, bits, _mm512_set1_epi32(static_cast<int>(0x80000000u)));
  return _mm512_maskz_cvtepi32_epi16(0xffff, upper_half(y));
}
LS_ALWAYS_INLINE __m512i join_rounded(__m512 first, __m512 second) {
  return _mm512_maskz_inserti64x4(0xff, _mm512_castsi256_si512(rounded(first)), rounded(second), 1);
}
LS_ALWAYS_INLINE __m512 add_pairs(__m512 sums, __m512i pairs) {
  const __m512i high = _mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xffff0000u)));
  return sums + _mm512_castsi512_ps(high) + _mm512_castsi512_ps(to_upper_half(pairs));
}

#endif

// r[i] dword j <-> r[j] dword i.
LS_ALWAYS_INLINE void transpose(__m512i* r) {
  __m512i t[16];
  constexpr __mmask16 kAll = 0xffff;
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_maskz_unpacklo_epi32(kAll, r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_maskz_unpackhi_epi32(kAll, r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 4; ++i) {
    r[4 * i] = _mm512_maskz_unpacklo_epi64(0xff, t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_maskz_unpackhi_epi64(0xff, t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_maskz_unpacklo_epi64(0xff, t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_maskz_unpackhi_epi64(0xff, t[4 * i + 1], t[4 * i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_maskz_shuffle_i32x4(kAll, r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_maskz_shuffle_i32x4(kAll, r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_maskz_shuffle_i32x4(kAll, r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_maskz_shuffle_i32x4(kAll, r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_maskz_shuffle_i32x4(kAll, t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_maskz_shuffle_i32x4(kAll, t[i], t[i + 8], 0xdd);
    r[i + 4] = _mm512_maskz_shuffle_i32x4(kAll, t[i + 4], t[i + 12], 0x88);
    r[i + 12] = _mm512_maskz_shuffle_i32x4(kAll, t[i + 4], t[i + 12], 0xdd);
  }
}

}  // namespace longspan::LS_CPU_LEVEL
