// The vectorised inner loops of the cpu backend, one table of functions for each instruction set and element
// type. A loop runs on one thread over plain pointers, which need not be aligned. Arithmetic is in float32; T
// is how elements are stored. What a loop computes for an element (or for a row, where it sums over rows)
// does not depend on where the caller cut the work, so that any number of threads gives the same bits.
#pragma once

#include <cstdint>

#include "core/base/bfloat16.h"
#include "core/base/cpu_level.h"

namespace longspan::cpu {

// Whether an output is left in cache, or goes around it to memory; a hint.
enum class Stores { kCached, kStreaming };

// Where there is a residual, what is normalised is sum = x + residual, before it is rounded; otherwise sum is null, too.
template <class T>
struct RmsNormRows {
  int64_t rows, n;
  double epsilon;
  const T *x, *residual, *weight;
  T *sum, *y;
  float* inverse_rms;
  Stores stores;
};

// residual, which may be null, is added to dx.
template <class T>
struct RmsNormGradientRows {
  int64_t rows, n;
  const T *dy, *x, *weight, *residual;
  const float* inverse_rms;
  T* dx;
  Stores stores;
};

// sum[c] = the sum over rows r of x[r * columns + c], or of factor[r] * x[..] * y[..] for the weight gradient. At most
// kRows rows, as sums are in float32.
template <class T>
struct ColumnSums {
  static constexpr int64_t kRows = 128;
  int64_t rows, columns;
  const T *x, *y;
  const float* factor;
  float* sum;
};

// Rotates every head of some tokens; sign is 1 forward, -1 inverse. Strides in elements.
template <class T>
struct RotaryTokens {
  int64_t tokens, heads, head_dim, token_stride, head_stride;
  const float *cosine, *sine;  // [tokens, head_dim / 2]
  float sign;
  T* x;
};

template <class T>
struct SwigluGradient {
  int64_t n;
  const T *dy, *gate, *up;
  T *dgate, *dup;
  Stores stores;
};

// One row of logits. dlogits may be null, or the logits themselves.
template <class T>
struct CrossEntropyRow {
  int64_t n;
  const float* logits;
  int64_t target;
  float gradient_scale;
  float* loss;
  T* dlogits;
};

// dlogits[i] = factor * exp(logits[i] - most). dlogits may be the logits.
template <class T>
struct SoftmaxRow {
  int64_t n;
  const float* logits;
  float most, factor;
  T* dlogits;
};

// w -= decay * w + rate * m / (sqrt(v) * root_correction + epsilon), with what steps and options give worked
// in.
template <class T>
struct AdamWElements {
  int64_t n;
  const float* gradient;
  float *master, *first_moment, *second_moment;
  T* value;
  float gradient_scale, beta1, beta2, one_minus_beta1, one_minus_beta2, rate, decay, root_correction, epsilon;
};

template <class T>
struct VectorLoops {
  void (*add)(int64_t n, const T* a, const T* b, T* sum, Stores stores);
  void (*copy)(int64_t n, const T* from, T* to, Stores stores);  // unlike the others, leaves the fence to the caller
  void (*fence)();  // after stores around the cache, before other threads read them
  void (*accumulate)(int64_t n, const T* x, float* sum);
  void (*load)(int64_t n, const T* from, float* to, Stores stores);
  void (*store)(int64_t n, const float* from, T* to, Stores stores);
  double (*sum_of_squares)(int64_t n, const T* x);
  void (*sum_columns)(const ColumnSums<T>&);
  // sum[c] += the sum over b of parts[b * stride + c], in double
  void (*add_parts)(int64_t parts, int64_t columns, int64_t stride, const float* part, float* sum);
  void (*rms_norm)(const RmsNormRows<T>&);
  void (*rms_norm_gradient)(const RmsNormGradientRows<T>&);
  void (*sum_weight_gradient)(const ColumnSums<T>&);
  void (*rotate)(const RotaryTokens<T>&);
  void (*swiglu)(int64_t n, const T* gate, const T* up, T* y, Stores stores);
  void (*swiglu_gradient)(const SwigluGradient<T>&);
  void (*cross_entropy)(const CrossEntropyRow<T>&);
  double (*softmax_sum)(int64_t n, const float* logits, float* most);  // of exp(logit - most), the largest; n > 0
  void (*softmax_gradient)(const SoftmaxRow<T>&);
  void (*adamw)(const AdamWElements<T>&);
};

// The table of a level, which must be one that this machine runs.
template <class T>
const VectorLoops<T>& vector_loops(CpuLevel level);

}  // namespace longspan::cpu
