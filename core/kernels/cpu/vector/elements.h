// Vectors of elements as they are stored, and e^x, on top of simd.h; for the loops whose arithmetic outweighs
// their memory traffic, or whose stores may go around the cache. The others are plain loops that the compiler vectorises.
#pragma once

#include "core/base/simd.h"
#include "core/kernels/cpu/vector/loops.h"

namespace longspan::LS_CPU_LEVEL {

typedef uint16_t ShortV __attribute__((vector_size(kWidth * 2)));

// The upper halves are v as bfloat16: to nearest, ties to even, a NaN stays a NaN. Below it is the same, except that the
// instruction of AVX512_BF16 takes denormal numbers, below 1.2e-38, for 0.
inline BitsV rounded_bits(FloatV v) {
  const BitsV u = (BitsV)v, rounded = u + (((u >> 16) & 1u) + 0x7fffu);
  return v != v ? u | 0x400000u : rounded;
}
inline ShortV round_to_bfloat16(FloatV v) {
#if defined(__AVX512BF16__)
  return (ShortV)_mm512_maskz_cvtneps_pbh(0xffff, (__m512)v);
#else
  const BitsV bits = rounded_bits(v) >> 16;
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

inline void store_bits(void* p, BitsV bits) {
  __builtin_memcpy(p, &bits, sizeof bits);
}
// Non-temporal, where the level has such stores; p is aligned to what is stored. fence() before others read it.
inline void store_streaming(void* p, BitsV bits) {
#if defined(__AVX512F__)
  _mm512_stream_si512(static_cast<__m512i*>(p), (__m512i)bits);
#elif defined(__AVX2__)
  _mm256_stream_si256(static_cast<__m256i*>(p), (__m256i)bits);
#else
  store_bits(p, bits);
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
};
// ... the end of a row, ...
struct Part {
  int64_t count;
  template <class T>
  FloatV operator()(const T* p) const {
    return load_part(p, count);
  }
};
// ... or, of a register full of bfloat16, the elements of even or of odd number: one instruction widens either.
inline BitsV load_bits(const void* p) {
  BitsV bits;
  __builtin_memcpy(&bits, p, sizeof bits);
  return bits;
}
struct Even {
  FloatV operator()(const bfloat16* p) const { return (FloatV)(load_bits(p) << 16); }
};
struct Odd {
  FloatV operator()(const bfloat16* p) const { return (FloatV)(load_bits(p) & 0xffff0000u); }
};
// Any of them, while a cache fetches what is `distance` elements further: the first (kLevel 3), or the second (2) where the
// first would lose what is still to be read.
template <class Reader, int kLevel>
struct Ahead {
  Reader read;
  int64_t distance;
  template <class T>
  FloatV operator()(const T* p) const {
    __builtin_prefetch(p + distance, 0, kLevel);
    return read(p);
  }
};
// What every row reads, which is in cache.
template <class Reader, class T>
FloatV in_cache(Reader read, const T* p) {
  return read(p);
}
template <class Reader, int kLevel, class T>
FloatV in_cache(Ahead<Reader, kLevel> ahead, const T* p) {
  return ahead.read(p);
}

// Even and odd elements in their places again.
inline BitsV join(FloatV even, FloatV odd) {
#if defined(__AVX512BF16__)
  alignas(64) static constexpr uint16_t kPlaces[2 * kWidth] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                               8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const __m512i halves = (__m512i)_mm512_maskz_cvtne2ps_pbh(~0u, (__m512)odd, (__m512)even);
  return (BitsV)_mm512_maskz_permutexvar_epi16(~0u, _mm512_load_si512(kPlaces), halves);
#else
  return rounded_bits(even) >> 16 | (rounded_bits(odd) & 0xffff0000u);
#endif
}

// of(i, from) for a register of T; what `from` reads at i is of type From.
template <class T, class From>
struct Register {
  static constexpr int64_t kElements = kWidth;
  template <class Function>
  static BitsV compute(int64_t i, Function of) {
    return (BitsV)of(i, Whole{});
  }
  template <class Function>
  static BitsV compute_ahead(int64_t i, int64_t distance, Function of) {
    return (BitsV)of(i, Ahead<Whole, 3>{{}, distance});
  }
};
template <>
struct Register<bfloat16, bfloat16> {
  static constexpr int64_t kElements = 2 * kWidth;
  template <class Function>
  static BitsV compute(int64_t i, Function of) {
    return join(of(i, Even{}), of(i, Odd{}));
  }
  template <class Function>
  static BitsV compute_ahead(int64_t i, int64_t distance, Function of) {
    return join(of(i, Ahead<Even, 3>{{}, distance}), of(i, Odd{}));
  }
};
template <>
struct Register<bfloat16, float> {
  static constexpr int64_t kElements = 2 * kWidth;
  template <class Function>
  static BitsV compute(int64_t i, Function of) {
    const ShortV halves[] = {round_to_bfloat16(of(i, Whole{})), round_to_bfloat16(of(i + kWidth, Whole{}))};
    BitsV both;
    __builtin_memcpy(&both, halves, sizeof both);
    return both;
  }
  template <class Function>
  static BitsV compute_ahead(int64_t i, int64_t, Function of) {
    return compute(i, of);
  }
};

// The elements of y before the first whose address streaming stores can take.
template <class T>
int64_t unaligned_elements(const T* y, int64_t n) {
  return smaller(n, static_cast<int64_t>(-reinterpret_cast<uintptr_t>(y) % sizeof(BitsV) / sizeof(T)));
}

// y[i] = of(i, from) for all i < n, where `from` reads inputs of type From, or of y's for assign, at i. Streaming stores fill the
// queues of the processor, so that it does not see by itself what comes after a row: the caller may say how far `ahead` to fetch.
template <class From, class T, class Function>
void convert(int64_t n, T* y, cpu::Stores stores, Function of, int64_t ahead = 0) {
  using R = Register<T, From>;
  constexpr int64_t kStep = R::kElements;
  int64_t i = 0;
  if (stores == cpu::Stores::kStreaming) {
    for (const int64_t head = unaligned_elements(y, n); i < head; i += kWidth) {
      const int64_t count = smaller(kWidth, head - i);
      store_part(y + i, count, of(i, Part{count}));
    }
    i = unaligned_elements(y, n);
    if (ahead > 0) {
      for (; i + kStep <= n; i += kStep) store_streaming(y + i, R::compute_ahead(i, ahead, of));
    }
    for (; i + kStep <= n; i += kStep) store_streaming(y + i, R::compute(i, of));
  }
  for (; i + kStep <= n; i += kStep) store_bits(y + i, R::compute(i, of));
  for (; i < n; i += kWidth) {
    const int64_t count = smaller(kWidth, n - i);
    store_part(y + i, count, of(i, Part{count}));
  }
}

template <class T, class Function>
void assign(int64_t n, T* y, cpu::Stores stores, Function of, int64_t ahead = 0) {
  convert<T>(n, y, stores, of, ahead);
}

// As assign for two outputs: `of` returns {first, second}.
template <class T, class Function>
void assign_two(int64_t n, T* first, T* second, cpu::Stores stores, Function of, int64_t ahead = 0) {
  constexpr int64_t kStep = Register<T, T>::kElements;
  // both at once, as they share most of the arithmetic
  const auto two = [of](int64_t i, auto even_from, auto whole_from, BitsV& a, BitsV& b) {
    if constexpr (sizeof(T) == sizeof(bfloat16)) {
      const auto even = of(i, even_from), odd = of(i, Odd{});
      a = join(even.first, odd.first);
      b = join(even.second, odd.second);
    } else {
      const auto both = of(i, whole_from);
      a = (BitsV)both.first;
      b = (BitsV)both.second;
    }
  };
  const auto part = [=](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i += kWidth) {
      const int64_t count = smaller(kWidth, to - i);
      const auto both = of(i, Part{count});
      store_part(first + i, count, both.first);
      store_part(second + i, count, both.second);
    }
  };
  BitsV a, b;
  int64_t i = 0;
  const int64_t head = unaligned_elements(first, n);
  if (stores == cpu::Stores::kStreaming && head == unaligned_elements(second, n)) {
    part(0, head);
    for (i = head; ahead > 0 && i + kStep <= n; i += kStep) {
      two(i, Ahead<Even, 2>{{}, ahead}, Ahead<Whole, 2>{{}, ahead}, a, b);
      store_streaming(first + i, a);
      store_streaming(second + i, b);
    }
    for (; i + kStep <= n; i += kStep) {
      two(i, Even{}, Whole{}, a, b);
      store_streaming(first + i, a);
      store_streaming(second + i, b);
    }
  }
  for (; i + kStep <= n; i += kStep) {
    two(i, Even{}, Whole{}, a, b);
    store_bits(first + i, a);
    store_bits(second + i, b);
  }
  part(i, n);
}

// The sum of of(i, from) over i < n, where `from` reads inputs of type T; what is read beyond n is 0. 64 partial sums at
// every level.
template <class T, class Function, class EvenReader = Even, class WholeReader = Whole>
float sum(int64_t n, Function of, EvenReader even = {}, WholeReader whole = {}) {
  constexpr int kSums = 64 / kWidth;
  FloatV sums[kSums] = {};
  int64_t i = 0;
  for (; i + kSums * kWidth <= n; i += kSums * kWidth) {
    for (int s = 0; s < kSums; s += 2) {
      const int64_t at = i + s * kWidth;
      if constexpr (sizeof(T) == sizeof(bfloat16)) {
        sums[s] += of(at, even);
        sums[s + 1] += of(at, Odd{});
      } else {
        sums[s] += of(at, whole);
        sums[s + 1] += of(at + kWidth, whole);
      }
    }
  }
  for (; i + kWidth <= n; i += kWidth) sums[0] += of(i, Whole{});
  if (i < n) sums[1] += of(i, Part{n - i});
  for (int s = kSums / 2; s > 0; s /= 2) {
    for (int t = 0; t < s; ++t) sums[t] += sums[t + s];
  }
  return horizontal_sum(sums[0]);
}
// The same, while the second cache fetches what is `distance` elements further.
template <class T, class Function>
float sum_ahead(int64_t n, int64_t distance, Function of) {
  return sum<T>(n, of, Ahead<Even, 2>{{}, distance}, Ahead<Whole, 2>{{}, distance});
}

// s.sum[i] = the sum over rows r of term(r, i, from), a row at a time: memory is read faster in few long streams than in many
// short ones.
template <class T, class Term>
void sum_rows(const cpu::ColumnSums<T>& s, Term term) {
  constexpr int64_t kAhead = 1024 / sizeof(T);
  float* sums = s.sum;
  const int64_t n = s.columns;
  for (int64_t i = 0; i < n; ++i) sums[i] = 0;
  for (int64_t r = 0; r < s.rows; ++r) {
    int64_t i = 0;
    if constexpr (sizeof(T) == sizeof(bfloat16)) {
      // `i` counts from where a register of even or of odd elements begins; their sums go to places of their own
      for (; i + 2 * kWidth <= n; i += 2 * kWidth) {
        const FloatV even = term(r, i, Ahead<Even, 2>{{}, kAhead}), odd = term(r, i, Odd{});
        store(sums + i, load(sums + i) + even);
        store(sums + i + kWidth, load(sums + i + kWidth) + odd);
      }
    } else {
      for (; i + kWidth <= n; i += kWidth) store(sums + i, load(sums + i) + term(r, i, Ahead<Whole, 2>{{}, kAhead}));
    }
    for (; i < n; i += kWidth) {
      const int64_t count = smaller(kWidth, n - i);
      store_part(sums + i, count, load_part(sums + i, count) + term(r, i, Part{count}));
    }
  }
  if constexpr (sizeof(T) == sizeof(bfloat16)) {  // to their places in the row
    for (int64_t i = 0; i + 2 * kWidth <= n; i += 2 * kWidth) {
      float even_odd[2 * kWidth];
      __builtin_memcpy(even_odd, sums + i, sizeof even_odd);
      for (int k = 0; k < kWidth; ++k) {
        sums[i + 2 * k] = even_odd[k];
        sums[i + 2 * k + 1] = even_odd[kWidth + k];
      }
    }
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
