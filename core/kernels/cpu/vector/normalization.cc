#include "core/kernels/cpu/vector/loops.h"

namespace longspan::LS_CPU_LEVEL {

namespace {

constexpr int kLanes = 64;  // partial sums of a row

// Sums term(i) over [0, n).
template <class Term>
double sum_row(int64_t n, Term term) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += term(i + lane);
  }
  double sum = 0;
  for (; i < n; ++i) sum += term(i);
  for (const float lane : lanes) sum += lane;
  return sum;
}

template <class T>
void rms_norm(const cpu::RmsNormRows<T>& rows) {
  const int64_t n = rows.n;
  for (int64_t r = 0; r < rows.rows; ++r) {
    const T* x = rows.x + r * n;
    T* y = rows.y + r * n;
    const double sum = sum_row(n, [x](int64_t i) { return widen(x[i]) * widen(x[i]); });
    const auto inverse =
        static_cast<float>(1.0 / __builtin_sqrt(sum / static_cast<double>(n) + rows.epsilon));
    rows.inverse_rms[r] = inverse;
    const T* weight = rows.weight;
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) y[i] = narrow<T>(widen(x[i]) * inverse * widen(weight[i]));
  }
}

template <class T>
void rms_norm_gradient(const cpu::RmsNormGradientRows<T>& rows) {
  const int64_t n = rows.n;
  const T* weight = rows.weight;
  for (int64_t r = 0; r < rows.rows; ++r) {
    const T *dy = rows.dy + r * n, *x = rows.x + r * n;
    T* dx = rows.dx + r * n;
    const double dot =
        sum_row(n, [dy, x, weight](int64_t i) { return widen(dy[i]) * widen(weight[i]) * widen(x[i]); });
    const float inverse = rows.inverse_rms[r];
    const auto common = static_cast<float>(dot * inverse * inverse / static_cast<double>(n));
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) {
      dx[i] = narrow<T>(inverse * (widen(dy[i]) * widen(weight[i]) - widen(x[i]) * common));
    }
  }
}

// Sums 128 rows at a time in float32 and those sums in double.
template <class T>
void sum_weight_gradient(const cpu::ColumnSums<T>& s) {
  constexpr int64_t kColumns = 1024, kRows = 128;
  for (int64_t column = 0; column < s.columns; column += kColumns) {
    const int64_t width = smaller(kColumns, s.columns - column);
    double total[kColumns] = {};
    for (int64_t first = 0; first < s.rows; first += kRows) {
      const int64_t last = smaller(s.rows, first + kRows);
      float part[kColumns] = {};
      int64_t r = first;
      for (; r + 2 <= last; r += 2) {
        const T *x0 = s.x + r * s.stride + column, *x1 = x0 + s.stride;
        const T *y0 = s.y + r * s.stride + column, *y1 = y0 + s.stride;
        const float f0 = s.factor[r], f1 = s.factor[r + 1];
        for (int64_t i = 0; i < width; ++i) {
          part[i] += f0 * widen(x0[i]) * widen(y0[i]) + f1 * widen(x1[i]) * widen(y1[i]);
        }
      }
      for (; r < last; ++r) {
        const T *x = s.x + r * s.stride + column, *y = s.y + r * s.stride + column;
        for (int64_t i = 0; i < width; ++i) part[i] += s.factor[r] * widen(x[i]) * widen(y[i]);
      }
      for (int64_t i = 0; i < width; ++i) total[i] += part[i];
    }
    for (int64_t i = 0; i < width; ++i) s.sum[column + i] += static_cast<float>(total[i]);
  }
}

}  // namespace

template <class T>
void add_normalization(VectorLoops<T>& loops) {
  loops.rms_norm = rms_norm<T>;
  loops.rms_norm_gradient = rms_norm_gradient<T>;
  loops.sum_weight_gradient = sum_weight_gradient<T>;
}

template void add_normalization(VectorLoops<float>&);
template void add_normalization(VectorLoops<bfloat16>&);

}  // namespace longspan::LS_CPU_LEVEL
