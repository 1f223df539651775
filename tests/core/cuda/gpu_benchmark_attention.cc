// Attention in TFLOP/s: 4 x head dims per pair of a query and a key that it sees, so causal counts as half; 2.5 times that in
// backward, delta included.
#include <fmt/core.h>

#include <cmath>
#include <limits>

#include "attention/kernels/block_attention.h"
#include "tests/core/cuda/gpu_benchmark.h"

namespace longspan::test {

namespace {

constexpr int64_t kHidden = 2048;  // of all heads

struct Mask {
  const char* name;
  int64_t document_tokens;  // 0: one document of all
  bool causal = true;
};

std::vector<IndexInterval> visible_tokens(const Mask& mask, int64_t num_tokens) {
  std::vector<IndexInterval> visible;
  for (int64_t i = 0; i < num_tokens; ++i) {
    const int64_t begin = mask.document_tokens > 0 ? i / mask.document_tokens * mask.document_tokens : 0;
    visible.push_back({begin, mask.causal ? i + 1 : num_tokens});
  }
  return visible;
}

void time_attention(const Context& c, const Mask& mask, int64_t num_tokens, int64_t head_dim) {
  const std::vector<IndexInterval> intervals = visible_tokens(mask, num_tokens);
  const KeyIntervals visible(intervals, {{.start = 0, .stride = 1, .length = num_tokens}});
  const int64_t num_heads = kHidden / head_dim;
  const Shape shape = {num_tokens, num_heads, head_dim}, per_row = {num_heads, num_tokens};
  const auto make = [&] { return random_on_device(c, shape, c.compute_dtype()); };
  const auto zeros = [&](const Shape& of) {
    const Tensor tensor = c.empty(of, DType::kFloat32);
    fill_on_device(tensor, 0);
    return tensor;
  };
  const AttentionBlock block = {.q = make(), .k = make(), .v = make(), .visible = &visible,
                                .scale = 1 / std::sqrt(static_cast<double>(head_dim))};
  const auto empty_lse = [&] {
    const Tensor lse = c.empty(per_row, DType::kFloat32);
    fill_on_device(lse, -std::numeric_limits<float>::infinity());
    return lse;
  };
  const AttentionState state = {zeros(shape), empty_lse()};
  const auto& kernel = c.kernels<BlockAttention>();
  const AttentionGradient gradient = {.doutput = make(), .lse = empty_lse(), .delta = zeros(per_row),
                                      .dq = zeros(shape), .dk = zeros(shape), .dv = zeros(shape)};
  kernel.forward(c, block, {zeros(shape), gradient.lse});  // of one forward; those that are timed go on with their state

  double pairs = 0;
  for (const IndexInterval& seen : intervals) pairs += static_cast<double>(seen.end - seen.begin);
  const double tflop = 4e-12 * pairs * static_cast<double>(kHidden);
  const double forward = seconds_of(c, [&] { kernel.forward(c, block, state); });
  const double backward = seconds_of(c, [&] {
    kernel.delta(c, state.output, gradient.doutput, gradient.delta);
    kernel.backward(c, block, gradient);
  });
  fmt::print("attention {:<16}  head {:>3}  {:>6} tokens  forward {:>6.1f}  backward {:>6.1f} TFLOP/s\n", mask.name, head_dim,
             num_tokens, tflop / forward, 2.5 * tflop / backward);
}

}  // namespace

void bench_attention(const Context& context) {
  constexpr Mask kCausal = {"causal", 0}, kFull = {"full", 0, false}, kDocuments = {"documents of 4k", 4096};
  for (const int64_t head_dim : {64, 128}) {
    for (int64_t num_tokens = 4096; num_tokens <= 131072; num_tokens *= 2) time_attention(context, kCausal, num_tokens, head_dim);
    time_attention(context, kFull, 16384, head_dim);
    time_attention(context, kDocuments, 65536, head_dim);
  }
}

}  // namespace longspan::test
