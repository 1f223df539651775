// Vectors of elements as they are stored, and e^x, on top of simd.h; for the loops whose arithmetic outweighs
// their memory traffic, or whose stores may go around the cache. The others are plain loops that the compiler vectorises.
#pragma once

#include "core/base/simd.h"
#include "core/kernels/cpu/vector/loops.h"

namespace longspan::LS_CPU_LEVEL {

typedef uint16_t ShortV __attribute__((vector_size(kWidth * 2)));

// To nearest, ties to even, a NaN stays a NaN. The instruction of AVX512_BF16 takes denormal numbers, below 1.2e-38, for 0.
inline ShortV round_to_bfloat16(FloatV v) {
#if defined(__AVX512BF16__)
  return (ShortV)_mm512_maskz_cvtneps_pbh(0xffff, (__m512)v);
#else
  const BitsV u = (BitsV)v, rounded = u + (((u >> 16) & 1u) + 0x7fffu), bits = (v != v ? u | 0x400000u : rounded) >> 16;
#if defined(__AVX512F__)
  return (ShortV)_mm512_maskz_cvtepi32_epi16(0xffff, (__m512i)bits);
#else
  return __builtin_convertvector(bits, ShortV);
#endif
#endif
}

inline void store_narrow(float* p, FloatV v) {
  store(p, v);
}
inline void store_narrow(bfloat16* p, FloatV v) {
  const ShortV bits = round_to_bfloat16(v);
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

// Non-temporal, where the level has such stores; p is aligned to the size of what is stored. fence() before others read it.
inline void store_streaming(float* p, FloatV v) {
#if defined(__AVX512F__)
  _mm512_stream_ps(p, (__m512)v);
#elif defined(__AVX2__)
  _mm256_stream_ps(p, (__m256)v);
#else
  store(p, v);
#endif
}
inline void store_streaming(bfloat16* p, FloatV v) {
#if defined(__AVX512F__)
  _mm256_stream_si256(reinterpret_cast<__m256i*>(p), (__m256i)round_to_bfloat16(v));
#elif defined(__AVX2__)
  _mm_stream_si128(reinterpret_cast<__m128i*>(p), (__m128i)round_to_bfloat16(v));
#else
  store_narrow(p, v);
#endif
}
inline void fence() {
#if defined(__AVX2__)
  _mm_sfence();
#endif
}

// How a loop reads its inputs: vectors, ...
struct Whole {
  template <class T>
  FloatV operator()(const T* p) const {
    return load(p);
  }
  // what every row reads
  template <class T>
  FloatV common(const T* p) const {
    return load(p);
  }
};
// ... the end of a row, ...
struct Part {
  int64_t count;
  template <class T>
  FloatV operator()(const T* p) const {
    return load_part(p, count);
  }
  template <class T>
  FloatV common(const T* p) const {
    return load_part(p, count);
  }
};
// ... or vectors, while the cache fetches the same place of the next row: stores around the cache fill the queues of the
// processor, so that it does not see by itself what comes after this row.
struct RowAhead {
  int64_t n;
  template <class T>
  FloatV operator()(const T* p) const {
    __builtin_prefetch(p + n, 0, 2);  // into L2: in L1 it would push out the row that is being read
    return load(p);
  }
  template <class T>
  FloatV common(const T* p) const {
    return load(p);
  }
};

// y[i] = of(i, from) for all i < n, a vector at a time; `from` reads the inputs at i. `Streaming` reads them where stores
// are streaming.
template <class T, class Function, class Streaming = Whole>
void assign(int64_t n, T* y, cpu::Stores stores, Function of, Streaming from = {}) {
  int64_t i = 0;
  constexpr auto kAlignment = static_cast<uintptr_t>(kWidth) * sizeof(T);
  if (stores == cpu::Stores::kStreaming && reinterpret_cast<uintptr_t>(y) % kAlignment == 0) {
    for (; i + kWidth <= n; i += kWidth) store_streaming(y + i, of(i, from));
  }
  for (; i + kWidth <= n; i += kWidth) store_narrow(y + i, of(i, Whole{}));
  if (i < n) store_part(y + i, n - i, of(i, Part{n - i}));
}

// The same for two outputs: `of` returns {first, second}.
template <class T, class Function>
void assign_two(int64_t n, T* first, T* second, cpu::Stores stores, Function of) {
  int64_t i = 0;
  constexpr auto kAlignment = static_cast<uintptr_t>(kWidth) * sizeof(T);
  const auto addresses = reinterpret_cast<uintptr_t>(first) | reinterpret_cast<uintptr_t>(second);
  if (stores == cpu::Stores::kStreaming && addresses % kAlignment == 0) {
    for (; i + kWidth <= n; i += kWidth) {
      const auto both = of(i, Whole{});
      store_streaming(first + i, both.first);
      store_streaming(second + i, both.second);
    }
  }
  for (; i + kWidth <= n; i += kWidth) {
    const auto both = of(i, Whole{});
    store_narrow(first + i, both.first);
    store_narrow(second + i, both.second);
  }
  if (i == n) return;
  const auto both = of(i, Part{n - i});
  store_part(first + i, n - i, both.first);
  store_part(second + i, n - i, both.second);
}

// The sum of of(i, from) over i < n; what is read beyond n is 0. 64 partial sums at every level.
template <class Function>
float sum(int64_t n, Function of) {
  constexpr int kSums = 64 / kWidth;
  FloatV sums[kSums] = {};
  int64_t i = 0;
  for (; i + kSums * kWidth <= n; i += kSums * kWidth) {
    for (int s = 0; s < kSums; ++s) sums[s] += of(i + s * kWidth, Whole{});
  }
  for (; i + kWidth <= n; i += kWidth) sums[0] += of(i, Whole{});
  if (i < n) sums[1] += of(i, Part{n - i});
  for (int s = kSums / 2; s > 0; s /= 2) {
    for (int t = 0; t < s; ++t) sums[t] += sums[t + s];
  }
  return horizontal_sum(sums[0]);
}

// s.sum[i] = the sum over rows r of term(r, i, from).
template <class T, class Term>
void sum_rows(const cpu::ColumnSums<T>& s, Term term) {
  float* sums = s.sum;
  const int64_t n = s.columns;
  for (int64_t i = 0; i < n; ++i) sums[i] = 0;
  int64_t r = 0;
  for (; r + 4 <= s.rows; r += 4) {
    assign(n, sums, cpu::Stores::kCached, [=](int64_t i, auto from) {
      return from(sums + i) + ((term(r, i, from) + term(r + 1, i, from)) + (term(r + 2, i, from) + term(r + 3, i, from)));
    });
  }
  for (; r < s.rows; ++r) {
    assign(n, sums, cpu::Stores::kCached,
           [=](int64_t i, auto from) { return from(sums + i) + term(r, i, from); });
  }
}

// b where either is not a number.
inline FloatV minimum(FloatV a, FloatV b) {
#if defined(__AVX512F__)
  return (FloatV)_mm512_maskz_min_ps(0xffff, (__m512)a, (__m512)b);
#else
  return a < b ? a : b;
#endif
}

// Within 2 ulp; 0 below -86.6 (e^x < 2.5e-38), infinite above 88.72; a NaN stays a NaN.
// Not exp2(x * log2 e), whose rounded argument costs up to 80 ulp.
// x = n ln 2 + r with |r| <= ln 2 / 2, and the polynomial for e^r of Cephes' expf (Moshier 1989).
inline FloatV exponential(FloatV x) {
  const FloatV low = broadcast(-86.6f);
#if defined(__AVX512F__)
  const FloatV bounded = minimum(broadcast(100.0f), x);
  const FloatV n =
      (FloatV)_mm512_maskz_roundscale_ps(0xffff, (__m512)(bounded * 1.44269504f), _MM_FROUND_TO_NEAREST_INT);
#else
  const FloatV high = broadcast(88.7228317f), round = broadcast(0x1.8p23f);
  FloatV bounded = select(x < low, low, x);
  bounded = select(bounded > high, high, bounded);
  const FloatV shifted = bounded * 1.44269504f + round, n = shifted - round;
#endif
  const FloatV r = (bounded - n * 0.693359375f) - n * -2.12194440e-4f;
  FloatV p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
#if defined(__AVX512F__)
  const __mmask16 not_low = _mm512_cmp_ps_mask((__m512)x, (__m512)low, _CMP_NLT_UQ);
  return (FloatV)_mm512_maskz_scalef_ps(not_low, (__m512)p, (__m512)n);
#else
  // 2^(n-1) and then 2, as 2^128 is no float; unsigned, as a NaN's bits are any
  const BitsV exponent = ((BitsV)shifted - (BitsV)round + 126u) << 23;
  const FloatV result = p * (FloatV)exponent * 2.0f;
  return select(x > high, broadcast(__builtin_inff()), select(x < low, FloatV{}, result));
#endif
}

}  // namespace longspan::LS_CPU_LEVEL
