#include "core/kernels/cpu/vector/loops.h"

namespace longspan::LS_CPU_LEVEL {

namespace {

// An output may be an input, element for element; no iteration reads what another writes.
template <class T>
void add(int64_t n, const T* a, const T* b, T* sum) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) sum[i] = narrow<T>(widen(a[i]) + widen(b[i]));
}

template <class T>
void accumulate(int64_t n, const T* x, float* sum) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) sum[i] += widen(x[i]);
}

template <class T>
void load(int64_t n, const T* from, float* to) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) to[i] = widen(from[i]);
}

template <class T>
void store(int64_t n, const float* from, T* to) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) to[i] = narrow<T>(from[i]);
}

template <class T>
double sum_of_squares(int64_t n, const T* x) {
  constexpr int kLanes = 32;
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const double value = widen(x[i + lane]);
      lanes[lane] += value * value;
    }
  }
  double sum = 0;
  for (; i < n; ++i) sum += static_cast<double>(widen(x[i])) * widen(x[i]);
  for (const double lane : lanes) sum += lane;
  return sum;
}

// Sums 128 rows at a time in float32 and those sums in double.
template <class T>
void sum_columns(const cpu::ColumnSums<T>& s) {
  constexpr int64_t kColumns = 1024, kRows = 128;
  for (int64_t column = 0; column < s.columns; column += kColumns) {
    const int64_t width = smaller(kColumns, s.columns - column);
    double total[kColumns] = {};
    for (int64_t first = 0; first < s.rows; first += kRows) {
      const int64_t last = smaller(s.rows, first + kRows);
      float part[kColumns] = {};
      int64_t r = first;
      for (; r + 4 <= last; r += 4) {
        const T *x0 = s.x + r * s.stride + column, *x1 = x0 + s.stride, *x2 = x1 + s.stride,
                *x3 = x2 + s.stride;
        for (int64_t i = 0; i < width; ++i) {
          part[i] += (widen(x0[i]) + widen(x1[i])) + (widen(x2[i]) + widen(x3[i]));
        }
      }
      for (; r < last; ++r) {
        const T* x = s.x + r * s.stride + column;
        for (int64_t i = 0; i < width; ++i) part[i] += widen(x[i]);
      }
      for (int64_t i = 0; i < width; ++i) total[i] += part[i];
    }
    for (int64_t i = 0; i < width; ++i) s.sum[column + i] += static_cast<float>(total[i]);
  }
}

}  // namespace

template <class T>
void add_elementwise(VectorLoops<T>& loops) {
  loops.add = add<T>;
  loops.accumulate = accumulate<T>;
  loops.load = load<T>;
  loops.store = store<T>;
  loops.sum_of_squares = sum_of_squares<T>;
  loops.sum_columns = sum_columns<T>;
}

template void add_elementwise(VectorLoops<float>&);
template void add_elementwise(VectorLoops<bfloat16>&);

}  // namespace longspan::LS_CPU_LEVEL
