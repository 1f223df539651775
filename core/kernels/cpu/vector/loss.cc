#include "core/kernels/cpu/vector/loops.h"

namespace longspan::LS_CPU_LEVEL {

namespace {

template <class T>
void cross_entropy(const cpu::CrossEntropyRow<T>& row) {
  const float* x = row.logits;
  float most = x[0];
  for (int64_t i = 1; i < row.n; ++i) most = x[i] > most ? x[i] : most;
  double sum = 0;
  for (int64_t i = 0; i < row.n; ++i) sum += __builtin_expf(x[i] - most);
  *row.loss = static_cast<float>(__builtin_log(sum) + (static_cast<double>(most) - x[row.target]));
  if (!row.dlogits) return;
  const auto scale = static_cast<float>(row.gradient_scale / sum);
  // the target's before its logit is gone
  const auto probability = static_cast<float>(__builtin_exp(static_cast<double>(x[row.target]) - most) / sum);
#pragma GCC ivdep
  for (int64_t i = 0; i < row.n; ++i) row.dlogits[i] = narrow<T>(scale * __builtin_expf(x[i] - most));
  row.dlogits[row.target] = narrow<T>(row.gradient_scale * (probability - 1.0f));
}

}  // namespace

template <class T>
void add_loss(VectorLoops<T>& loops) {
  loops.cross_entropy = cross_entropy<T>;
}

template void add_loss(VectorLoops<float>&);
template void add_loss(VectorLoops<bfloat16>&);

}  // namespace longspan::LS_CPU_LEVEL
