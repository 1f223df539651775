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

// Sum of e^(x - most): a block at a time in float32, the blocks in double. visit(i, count, exponentials) sees them all.
template <class Visit>
double sum_of_exponentials(int64_t n, const float* x, float most, Visit visit) {
  constexpr int64_t kBlock = 1024;
  double sum = 0;
  for (int64_t first = 0; first < n; first += kBlock) {
    const int64_t last = smaller(n, first + kBlock);
    FloatV even{}, odd{};
    int64_t i = first;
    for (; i + 2 * kWidth <= last; i += 2 * kWidth) {
      const FloatV a = exponential(load(x + i) - most), b = exponential(load(x + i + kWidth) - most);
      visit(i, kWidth, a);
      visit(i + kWidth, kWidth, b);
      even += a;
      odd += b;
    }
    sum += sum_of_lanes(even + odd, kWidth);
    for (; i < last; i += kWidth) {
      const int64_t count = smaller(kWidth, last - i);
      const FloatV a = exponential(load_part(x + i, count) - most);
      visit(i, count, a);
      sum += sum_of_lanes(a, count);
    }
  }
  return sum;
}

template <class T>
void softmax_gradient(const cpu::SoftmaxRow<T>& row) {
  const float* x = row.logits;
  const float most = row.most, factor = row.factor;
  convert<float>(row.n, row.dlogits, cpu::Stores::kCached,
                 [x, most, factor](int64_t i, auto from) { return factor * exponential(from(x + i) - most); });
}

double sum_of_exponentials(const cpu::CrossEntropyRow<bfloat16>& row, float most) {
  return sum_of_exponentials(row.n, row.logits, most, [](int64_t, int64_t, FloatV) {});
}
void write_gradient(const cpu::CrossEntropyRow<bfloat16>& row, float most, float factor) {
  softmax_gradient<bfloat16>({row.n, row.logits, most, factor, row.dlogits});
}

// float32 gradients have room for the exponentials, so that they are not computed twice; dlogits may be the logits.
double sum_of_exponentials(const cpu::CrossEntropyRow<float>& row, float most) {
  float* kept = row.dlogits;
  return sum_of_exponentials(row.n, row.logits, most, [kept](int64_t i, int64_t count, FloatV e) {
    if (!kept) return;
    if (count == kWidth) return store(kept + i, e);
    store_part(kept + i, count, e);
  });
}
void write_gradient(const cpu::CrossEntropyRow<float>& row, float, float factor) {
  float* kept = row.dlogits;
  assign(row.n, kept, cpu::Stores::kCached, [kept, factor](int64_t i, auto from) { return factor * from(kept + i); });
}

template <class T>
void cross_entropy(const cpu::CrossEntropyRow<T>& row) {
  const float* x = row.logits;
  const int64_t n = row.n;
  const float most = largest(n, x), target = x[row.target];
  const double sum = sum_of_exponentials(row, most);
  *row.loss = static_cast<float>(__builtin_log(sum) + (static_cast<double>(most) - target));
  if (!row.dlogits) return;
  const auto factor = static_cast<float>(row.gradient_scale / sum);
  T* dlogits = row.dlogits;
  write_gradient(row, most, factor);
  const double probability = __builtin_exp(static_cast<double>(target) - most) / sum;
  dlogits[row.target] = narrow<T>(static_cast<float>(row.gradient_scale * (probability - 1.0)));
}

double softmax_sum(int64_t n, const float* x, float* most) {
  *most = largest(n, x);
  return sum_of_exponentials(n, x, *most, [](int64_t, int64_t, FloatV) {});
}

}  // namespace

template <class T>
void add_loss(VectorLoops<T>& loops) {
  loops.cross_entropy = cross_entropy<T>;
  loops.softmax_sum = softmax_sum;
  loops.softmax_gradient = softmax_gradient<T>;
}

template void add_loss(VectorLoops<float>&);
template void add_loss(VectorLoops<bfloat16>&);

}  // namespace longspan::LS_CPU_LEVEL
