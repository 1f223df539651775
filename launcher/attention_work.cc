#include "launcher/attention_work.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/random.h"
#include "launcher/bench_tools.h"

namespace longspan {
std::vector<IndexInterval> causal_tokens(int64_t num_tokens) { return window_tokens(num_tokens, num_tokens); }

std::vector<IndexInterval> window_tokens(int64_t num_tokens, int64_t width) {
  std::vector<IndexInterval> visible;
  for (int64_t i = 0; i < num_tokens; ++i) visible.push_back({std::max<int64_t>(0, i + 1 - width), i + 1});
  return visible;
}

std::vector<IndexInterval> document_tokens(int64_t num_tokens, int64_t num_documents) {
  const RandomStream random(1, "documents");
  std::vector<double> ends;
  for (int64_t i = 0; i < num_documents; ++i) ends.push_back(random.uniform(static_cast<uint64_t>(i)));
  std::partial_sum(ends.begin(), ends.end(), ends.begin());
  std::vector<IndexInterval> visible;
  int64_t begin = 0;
  for (const double end : ends) {
    const auto last = static_cast<int64_t>(std::llround(end / ends.back() * static_cast<double>(num_tokens)));
    for (int64_t i = begin; i < last; ++i) visible.push_back({begin, i + 1});
    begin = last;
  }
  return visible;
}

AttentionWork::AttentionWork(Context context, const AttentionWorkShape& shape, const std::vector<IndexInterval>& visible)
    : context_(std::move(context)),
      visible_(visible, {{.start = 0, .stride = 1, .length = shape.num_tokens}}),
      shape_(shape) {
  const Shape queries = {shape.num_tokens, shape.num_heads, shape.head_dim};
  const Shape keys = {shape.num_tokens, shape.num_kv_heads, shape.head_dim};
  block_ = {.q = random_tensor(context_, queries, context_.compute_dtype(), "q"),
            .k = random_tensor(context_, keys, context_.compute_dtype(), "k"),
            .v = random_tensor(context_, keys, context_.compute_dtype(), "v"),
            .visible = &visible_,
            .scale = 1 / std::sqrt(static_cast<double>(shape.head_dim))};
  gradient_ = {.doutput = random_tensor(context_, queries, context_.compute_dtype(), "dy"),
               .lse = {},
               .delta = context_.empty({shape.num_heads, shape.num_tokens}, DType::kFloat32),
               .dq = context_.zeros(queries, DType::kFloat32),
               .dk = context_.zeros(keys, DType::kFloat32),
               .dv = context_.zeros(keys, DType::kFloat32)};
}

void AttentionWork::forward() {
  const auto& kernel = context_.kernels<BlockAttention>();
  state_ = kernel.initial_state(context_, shape_.num_tokens, shape_.num_heads, shape_.head_dim);
  kernel.forward(context_, block_, state_);
}

void AttentionWork::backward() {
  const auto& kernel = context_.kernels<BlockAttention>();
  gradient_.lse = state_.lse;
  kernel.delta(context_, state_.output, gradient_.doutput, gradient_.delta);
  kernel.backward(context_, block_, gradient_);
}

double AttentionWork::forward_gflop() const {
  return 4e-9 * static_cast<double>(visible_.num_pairs() * shape_.num_heads * shape_.head_dim);
}

}  // namespace longspan
