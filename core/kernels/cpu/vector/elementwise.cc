#include "core/kernels/cpu/vector/elements.h"

namespace longspan::LS_CPU_LEVEL {

namespace {

// Outputs may be inputs, element for element.
template <class T>
void add(int64_t n, const T* a, const T* b, T* sum, cpu::Stores stores) {
  assign(n, sum, stores, [a, b](int64_t i, auto from) { return from(a + i) + from(b + i); });
  fence();
}

template <class T>
void copy(int64_t n, const T* from, T* to, cpu::Stores stores) {
  int64_t i = 0;
  constexpr auto kStep = static_cast<int64_t>(sizeof(BitsV) / sizeof(T));
  if (stores == cpu::Stores::kStreaming) {
    i = unaligned_elements(to, n);
    __builtin_memmove(static_cast<void*>(to), static_cast<const void*>(from), static_cast<size_t>(i) * sizeof(T));
    for (; i + kStep <= n; i += kStep) store_streaming(to + i, load_bits(from + i));
  }
  __builtin_memmove(static_cast<void*>(to + i), static_cast<const void*>(from + i), static_cast<size_t>(n - i) * sizeof(T));
}

template <class T>
void accumulate(int64_t n, const T* x, float* sum) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) sum[i] += widen(x[i]);
}

template <class T>
void load(int64_t n, const T* from, float* to, cpu::Stores stores) {
  convert<T>(n, to, stores, [from](int64_t i, auto read) { return read(from + i); });
  fence();
}

template <class T>
void store(int64_t n, const float* from, T* to, cpu::Stores stores) {
  convert<float>(n, to, stores, [from](int64_t i, auto read) { return read(from + i); });
  fence();
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

template <class T>
void sum_columns(const cpu::ColumnSums<T>& s) {
  const T* x = s.x;
  const int64_t n = s.columns;
  sum_rows(s, [x, n](int64_t r, int64_t i, auto from) { return from(x + r * n + i); });
}

void add_parts(int64_t parts, int64_t columns, int64_t stride, const float* part, float* sum) {
  constexpr int64_t kColumns = 256;
  for (int64_t first = 0; first < columns; first += kColumns) {
    const int64_t width = smaller(kColumns, columns - first);
    double total[kColumns] = {};
    for (int64_t p = 0; p < parts; ++p) {
      const float* x = part + p * stride + first;
      for (int64_t i = 0; i < width; ++i) total[i] += x[i];
    }
    for (int64_t i = 0; i < width; ++i) sum[first + i] += static_cast<float>(total[i]);
  }
}

}  // namespace

template <class T>
void add_elementwise(VectorLoops<T>& loops) {
  loops.add = add<T>;
  loops.copy = copy<T>;
  loops.fence = fence;
  loops.accumulate = accumulate<T>;
  loops.load = load<T>;
  loops.store = store<T>;
  loops.sum_of_squares = sum_of_squares<T>;
  loops.sum_columns = sum_columns<T>;
  loops.add_parts = add_parts;
}

template void add_elementwise(VectorLoops<float>&);
template void add_elementwise(VectorLoops<bfloat16>&);

}  // namespace longspan::LS_CPU_LEVEL
