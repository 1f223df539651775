#include "core/kernels/cpu/vector/elements.h"

namespace longspan::LS_CPU_LEVEL {

namespace {

float largest(int64_t n, const float* x) {
  FloatV lanes = broadcast(x[0]);
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    const FloatV next = load(x + i);
    lanes = select(next > lanes, next, lanes);
  }
  float most = x[0];
  for (; i < n; ++i) most = x[i] > most ? x[i] : most;
  for (int lane = 0; lane < kWidth; ++lane) most = lanes[lane] > most ? lanes[lane] : most;
  return most;
}

double sum_of_lanes(FloatV v, int64_t count) {
  double sum = 0;
  for (int64_t lane = 0; lane < count; ++lane) sum += v[lane];
  return sum;
}

// Sum of e^(x - most): a block at a time in float32, the blocks in double.
double sum_of_exponentials(int64_t n, const float* x, float most) {
  constexpr int64_t kBlock = 1024;
  double sum = 0;
  for (int64_t first = 0; first < n; first += kBlock) {
    const int64_t last = smaller(n, first + kBlock);
    FloatV even{}, odd{};
    int64_t i = first;
    for (; i + 2 * kWidth <= last; i += 2 * kWidth) {
      even += exponential(load(x + i) - most);
      odd += exponential(load(x + i + kWidth) - most);
    }
    sum += sum_of_lanes(even + odd, kWidth);
    for (; i < last; i += kWidth) {
      const int64_t count = smaller(kWidth, last - i);
      sum += sum_of_lanes(exponential(load_part(x + i, count) - most), count);
    }
  }
  return sum;
}

template <class T>
void cross_entropy(const cpu::CrossEntropyRow<T>& row) {
  const float* x = row.logits;
  const int64_t n = row.n;
  const float most = largest(n, x), target = x[row.target];
  const double sum = sum_of_exponentials(n, x, most);
  *row.loss = static_cast<float>(__builtin_log(sum) + (static_cast<double>(most) - target));
  if (!row.dlogits) return;
  const auto factor = static_cast<float>(row.gradient_scale / sum);
  T* dlogits = row.dlogits;
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) store_narrow(dlogits + i, factor * exponential(load(x + i) - most));
  if (i < n) store_part(dlogits + i, n - i, factor * exponential(load_part(x + i, n - i) - most));
  const double probability = __builtin_exp(static_cast<double>(target) - most) / sum;
  dlogits[row.target] = narrow<T>(static_cast<float>(row.gradient_scale * (probability - 1.0)));
}

}  // namespace

template <class T>
void add_loss(VectorLoops<T>& loops) {
  loops.cross_entropy = cross_entropy<T>;
}

template void add_loss(VectorLoops<float>&);
template void add_loss(VectorLoops<bfloat16>&);

}  // namespace longspan::LS_CPU_LEVEL
