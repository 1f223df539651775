#include "core/kernels/cpu/vector/exponential.h"
#include "core/kernels/cpu/vector/loops.h"

namespace longspan::LS_CPU_LEVEL {

namespace {

constexpr int kLanes = 64;  // partial results of a row

float largest(int64_t n, const float* x) {
  float lanes[kLanes];
  for (float& lane : lanes) lane = x[0];
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = x[i + lane] > lanes[lane] ? x[i + lane] : lanes[lane];
  }
  float most = x[0];
  for (; i < n; ++i) most = x[i] > most ? x[i] : most;
  for (const float lane : lanes) most = lane > most ? lane : most;
  return most;
}

// Sum of e^(x - most): a block at a time in float32, the blocks in double.
double sum_of_exponentials(int64_t n, const float* x, float most) {
  constexpr int64_t kBlock = 2048;
  double sum = 0;
  for (int64_t first = 0; first < n; first += kBlock) {
    const int64_t last = smaller(n, first + kBlock);
    float lanes[kLanes] = {};
    int64_t i = first;
    for (; i + kLanes <= last; i += kLanes) {
      for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += exponential(x[i + lane] - most);
    }
    for (; i < last; ++i) sum += exponential(x[i] - most);
    for (const float lane : lanes) sum += lane;
  }
  return sum;
}

template <class T>
void cross_entropy(const cpu::CrossEntropyRow<T>& row) {
  const float* x = row.logits;
  const float most = largest(row.n, x), target = x[row.target];
  const double sum = sum_of_exponentials(row.n, x, most);
  *row.loss = static_cast<float>(__builtin_log(sum) + (static_cast<double>(most) - target));
  if (!row.dlogits) return;
  const int64_t n = row.n;
  const auto factor = static_cast<float>(row.gradient_scale / sum);
  T* dlogits = row.dlogits;
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) dlogits[i] = narrow<T>(factor * exponential(x[i] - most));
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
