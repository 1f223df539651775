#include "launcher/bench_attention.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "attention/kernels/block_attention.h"
#include "launcher/bench_tools.h"

namespace longspan {
namespace {

struct Seconds {
  double forward, backward;
};

Seconds time_case(const BenchAttentionOptions& options, const BenchAttentionOptions::Case& c, const Context& context) {
  const auto& kernel = context.kernels<BlockAttention>();
  const Shape shape = {c.num_tokens, options.num_threads, c.head_dim};
  std::vector<IndexInterval> causal;
  for (int64_t i = 0; i < c.num_tokens; ++i) causal.push_back({0, i + 1});
  const KeyIntervals visible(causal, {{.start = 0, .stride = 1, .length = c.num_tokens}});
  const AttentionBlock block = {.q = random_tensor(context, shape, c.dtype, "q"),
                                .k = random_tensor(context, shape, c.dtype, "k"),
                                .v = random_tensor(context, shape, c.dtype, "v"),
                                .visible = &visible,
                                .scale = 1 / std::sqrt(static_cast<double>(c.head_dim))};
  AttentionState state;
  Seconds seconds{};
  seconds.forward = best_seconds(options.num_threads, options.min_seconds, [&] {
    state = kernel.initial_state(context, c.num_tokens, options.num_threads, c.head_dim);
    kernel.forward(context, block, state);
  });
  AttentionGradient gradient = {.doutput = random_tensor(context, shape, c.dtype, "dy"),
                                .lse = state.lse,
                                .delta = context.empty(state.lse.shape(), DType::kFloat32),
                                .dq = context.zeros(shape, DType::kFloat32),
                                .dk = context.zeros(shape, DType::kFloat32),
                                .dv = context.zeros(shape, DType::kFloat32)};
  seconds.backward = best_seconds(options.num_threads, options.min_seconds, [&] {
    kernel.delta(context, state.output, gradient.doutput, gradient.delta);
    kernel.backward(context, block, gradient);
  });
  return seconds;
}

// GFLOP/s a core at which the level multiplies the dtype by itself, where that is not by fp32 multiply-adds; else 0.
double product_peak(const BenchAttentionOptions& options, DType dtype) {
  if (dtype != DType::kBFloat16) return 0;
  if (options.level == CpuLevel::kAmx) return measure_amx_peak(options.num_threads, AmxOperands::kRegisters);
  return options.level == CpuLevel::kAvx512Bf16 ? measure_dot_peak(options.num_threads) : 0;
}

void run_case(const BenchAttentionOptions& options, const BenchAttentionOptions::Case& c,
              std::shared_ptr<const KernelSet> kernels, std::ostream& out) {
  if (c.head_dim < 1 || c.num_tokens < 1) {
    raise(ErrorKind::kConfiguration, "a head of {} over {} tokens cannot be measured", c.head_dim, c.num_tokens);
  }
  if (c.dtype != DType::kFloat32 && c.dtype != DType::kBFloat16) {
    raise(ErrorKind::kConfiguration, "the benchmark knows float32 and bfloat16, not {}", name(c.dtype));
  }
  const Context context({.device = {},
                         .compute_dtype = c.dtype,
                         .num_threads = options.num_threads,
                         .memory = std::make_shared<CachingResource>(std::make_shared<HostResource>()),
                         .kernels = std::move(kernels)});
  const double before = measure_fma_peak(options.num_threads, options.level);
  const double product_before = product_peak(options, c.dtype);
  const Seconds seconds = time_case(options, c, context);
  const double peak = std::max(before, measure_fma_peak(options.num_threads, options.level));
  const double products = std::max(product_before, product_peak(options, c.dtype));
  const auto tokens = static_cast<double>(c.num_tokens);
  const double forward_gflop = 2e-9 * tokens * tokens * static_cast<double>(c.head_dim);
  const auto print = [&](const char* direction, double gflop, double took) {
    const double rate = gflop / took;
    out << fmt::format("{:<8}  {:<8}  head_dim {:>3}  {:>6} tokens  {:>7.1f} GFLOP/s a core  {:>5.1f}% of {:.1f}", direction,
                       name(c.dtype), c.head_dim, c.num_tokens, rate, 100 * rate / peak, peak);
    if (products > 0) out << fmt::format("  {:>5.1f}% of {:.1f} in bfloat16", 100 * rate / products, products);
    out << "\n" << std::flush;
  };
  print("forward", forward_gflop, seconds.forward);
  print("backward", 2.5 * forward_gflop, seconds.backward);
}

}  // namespace

void bench_attention(const BenchAttentionOptions& options, std::ostream& out) {
  if (options.num_threads < 1 || !(options.min_seconds > 0)) {
    raise(ErrorKind::kConfiguration, "{} threads for {} seconds cannot be measured", options.num_threads,
          options.min_seconds);
  }
  const auto kernels = std::make_shared<KernelSet>("cpu");
  add_cpu_attention(*kernels, options.level);
  out << describe_peaks(options.num_threads, options.level) << "\n";
  out << fmt::format("causal attention, {} {}, {} instructions; the share is of the fp32 multiply-adds of a core\n",
                     options.num_threads, options.num_threads == 1 ? "thread" : "threads", name(options.level));
  for (const BenchAttentionOptions::Case& c : options.cases) run_case(options, c, kernels, out);
}

}  // namespace longspan
