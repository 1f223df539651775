#include "core/kernels/cpu/vector/elements.h"

namespace longspan::LS_CPU_LEVEL {

namespace {

// How far ahead to fetch where stores are streaming. A row within a page is better left to the processor.
template <class T>
int64_t next_row(int64_t n) {
  constexpr int64_t kPage = 4096;
  return n * static_cast<int64_t>(sizeof(T)) > kPage ? n : 0;
}

template <class T, class Value>
float inverse_rms(const cpu::RmsNormRows<T>& rows, Value value) {
  const double squares = sum<T>(rows.n, [value](int64_t i, auto from) {
    const FloatV v = value(i, from);
    return v * v;
  });
  return static_cast<float>(1.0 / __builtin_sqrt(squares / static_cast<double>(rows.n) + rows.epsilon));
}

struct SumAndNormalized {
  FloatV first, second;
};

template <class T>
void rms_norm(const cpu::RmsNormRows<T>& rows) {
  const int64_t n = rows.n;
  const T* weight = rows.weight;
  for (int64_t r = 0; r < rows.rows; ++r) {
    const T* x = rows.x + r * n;
    T* y = rows.y + r * n;
    if (rows.residual) {
      const T* residual = rows.residual + r * n;
      T* sum = rows.sum + r * n;
      const auto total = [x, residual](int64_t i, auto from) { return from(x + i) + from(residual + i); };
      const float inverse = rows.inverse_rms[r] = inverse_rms(rows, total);
      const auto both = [total, weight, inverse](int64_t i, auto from) {
        const FloatV v = total(i, from);
        return SumAndNormalized{v, v * inverse * in_cache(from, weight + i)};
      };
      if (next_row<T>(n) > 0) {
        assign_two(n, sum, y, rows.stores, both, next_row<T>(n));
      } else {  // such a row is written faster in one stream after the other
        assign(n, y, rows.stores, [both](int64_t i, auto from) { return both(i, from).second; });
        assign(n, sum, rows.stores, total);
      }
    } else {
      const float inverse = rows.inverse_rms[r] = inverse_rms(rows, [x](int64_t i, auto from) { return from(x + i); });
      assign(n, y, rows.stores, [x, weight, inverse](int64_t i, auto from) {
        return from(x + i) * inverse * in_cache(from, weight + i);
      }, next_row<T>(n));
    }
  }
  fence();
}

template <class T>
void rms_norm_gradient(const cpu::RmsNormGradientRows<T>& rows) {
  constexpr int64_t kAhead = 2048 / sizeof(T);  // of the row that is summed, and at its end of the next
  const int64_t n = rows.n;
  const T* weight = rows.weight;
  for (int64_t r = 0; r < rows.rows; ++r) {
    const T *dy = rows.dy + r * n, *x = rows.x + r * n;
    const auto product = [dy, x, weight](int64_t i, auto from) {
      return from(dy + i) * in_cache(from, weight + i) * from(x + i);
    };
    const double dot = next_row<T>(n) > 0 ? sum_ahead<T>(n, kAhead, product) : sum<T>(n, product);
    const float inverse = rows.inverse_rms[r];
    const auto common = static_cast<float>(dot * inverse * inverse / static_cast<double>(n));
    const auto gradient = [dy, x, weight, inverse, common](int64_t i, auto from) {
      return inverse * (from(dy + i) * in_cache(from, weight + i) - from(x + i) * common);
    };
    if (rows.residual) {
      const T* residual = rows.residual + r * n;
      assign(n, rows.dx + r * n, rows.stores,
             [gradient, residual](int64_t i, auto from) { return from(residual + i) + gradient(i, from); });
    } else {
      assign(n, rows.dx + r * n, rows.stores, gradient);
    }
  }
  fence();
}

template <class T>
void sum_weight_gradient(const cpu::ColumnSums<T>& s) {
  const T *x = s.x, *y = s.y;
  const float* factor = s.factor;
  const int64_t n = s.columns;
  sum_rows(s, [x, y, factor, n](int64_t r, int64_t i, auto from) {
    return factor[r] * from(x + r * n + i) * from(y + r * n + i);
  });
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
