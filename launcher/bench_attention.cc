#include "launcher/bench_attention.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "launcher/attention_work.h"
#include "launcher/bench_tools.h"

namespace longspan {
namespace {

using Case = BenchAttentionOptions::Case;
using Kind = BenchAttentionOptions::Kind;

constexpr int64_t kDocuments = 64;

std::unique_ptr<AttentionWork> work_of(const Case& c, int num_threads, const std::shared_ptr<const KernelSet>& kernels) {
  AttentionShape shape = {.num_tokens = c.num_tokens, .num_heads = num_threads, .num_kv_heads = num_threads,
                          .head_dim = c.head_dim};
  if (c.kind == Kind::kOneHead) shape.num_heads = shape.num_kv_heads = 1;
  if (c.kind == Kind::kGroups) {
    shape.num_heads = 8 * num_threads;
    shape.num_kv_heads = 2 * num_threads;
  }
  std::vector<IndexInterval> visible = causal_tokens(c.num_tokens);
  if (c.kind == Kind::kDocuments) visible = document_tokens(c.num_tokens, kDocuments);
  if (c.kind == Kind::kWindow) visible = window_tokens(c.num_tokens, 1024);
  Context context({.device = {},
                   .compute_dtype = c.dtype,
                   .num_threads = num_threads,
                   .memory = std::make_shared<CachingResource>(std::make_shared<HostResource>()),
                   .kernels = kernels});
  return std::make_unique<AttentionWork>(std::move(context), shape, visible);
}

// Causal tokens that see as many pairs as these.
int64_t causal_of_area(const std::vector<IndexInterval>& visible) {
  int64_t num_pairs = 0;
  for (const IndexInterval& interval : visible) num_pairs += interval.end - interval.begin;
  return std::llround(std::sqrt(2.0 * static_cast<double>(num_pairs)));
}

// What a case is and what it is measured beside.
struct Pair {
  std::unique_ptr<AttentionWork> work, beside;  // beside: may be null
  std::string name, comparison;
};

Pair pair_of(const Case& c, int num_threads, const std::shared_ptr<const KernelSet>& kernels) {
  const auto causal_of = [&](int64_t num_tokens, int threads) {
    return work_of({.dtype = c.dtype, .head_dim = c.head_dim, .num_tokens = num_tokens}, threads, kernels);
  };
  const auto causal = [&](int threads) { return causal_of(c.num_tokens, threads); };
  switch (c.kind) {
    case Kind::kCausal: return {work_of(c, num_threads, kernels), nullptr, "causal", ""};
    case Kind::kDocuments:
      return {work_of(c, num_threads, kernels),
              causal_of(causal_of_area(document_tokens(c.num_tokens, kDocuments)), num_threads), "64 documents",
              "of causal of the same area"};
    case Kind::kWindow: return {work_of(c, num_threads, kernels), causal(num_threads), "window 1024", "of causal"};
    case Kind::kGroups:
      return {work_of(c, num_threads, kernels), causal(num_threads), "8 heads on 2", "of one head on one"};
    case Kind::kOneHead: break;
  }
  const int threads = std::max(2, num_threads);
  return {work_of(c, threads, kernels), causal(1), fmt::format("{} threads", threads), "of a core alone"};
}

struct Rates {
  double forward = 0, backward = 0;  // GFLOP/s a core
};

void time_once(AttentionWork& work, double (*now)(), Rates& best) {
  const auto rate = [&](double gflop, double seconds) { return gflop / seconds / work.num_threads(); };
  const double start = now();
  work.forward();
  const double middle = now();
  work.backward();
  best.forward = std::max(best.forward, rate(work.forward_gflop(), middle - start));
  best.backward = std::max(best.backward, rate(2.5 * work.forward_gflop(), now() - middle));
}

// The best of some repetitions, in turn with those of what it is measured beside.
void time_pair(const BenchAttentionOptions& options, const Pair& pair, Rates& rates, Rates& beside) {
  const auto now = pair.work->num_threads() == 1 ? thread_cpu_seconds : clock_seconds;
  const double begin = clock_seconds();
  for (int i = 0; i < 3 || clock_seconds() - begin < 2 * options.min_seconds; ++i) {
    time_once(*pair.work, now, rates);
    if (pair.beside) time_once(*pair.beside, now, beside);
  }
}

// GFLOP/s a core at which the level multiplies the dtype by itself, where that is not by fp32 multiply-adds; else 0.
double product_peak(CpuLevel level, int num_threads, DType dtype) {
  if (dtype != DType::kBFloat16) return 0;
  if (level == CpuLevel::kAmx) return measure_amx_peak(num_threads, AmxOperands::kRegisters);
  return level == CpuLevel::kAvx512Bf16 ? measure_dot_peak(num_threads) : 0;
}

void run_case(const BenchAttentionOptions& options, const Case& c, const std::shared_ptr<const KernelSet>& kernels,
              std::ostream& out) {
  if (c.head_dim < 1 || c.num_tokens < 1) {
    raise(ErrorKind::kConfiguration, "a head of {} over {} tokens cannot be measured", c.head_dim, c.num_tokens);
  }
  if (c.dtype != DType::kFloat32 && c.dtype != DType::kBFloat16) {
    raise(ErrorKind::kConfiguration, "the benchmark knows float32 and bfloat16, not {}", name(c.dtype));
  }
  const Pair pair = pair_of(c, options.num_threads, kernels);
  const int num_threads = pair.work->num_threads();
  Rates rates, beside;
  const double before = measure_fma_peak(num_threads, options.level);
  const double product_before = product_peak(options.level, num_threads, c.dtype);
  time_pair(options, pair, rates, beside);
  const double peak = std::max(before, measure_fma_peak(num_threads, options.level));
  const double products = std::max(product_before, product_peak(options.level, num_threads, c.dtype));
  const auto print = [&](const char* direction, double rate, double other) {
    const std::string share = products > 0 ? fmt::format("  {:>5.1f}% of {:.1f} in bfloat16", 100 * rate / products, products) : "";
    const std::string compared = pair.beside ? fmt::format("  {:.2f} {}", rate / other, pair.comparison) : "";
    out << fmt::format("{:<8}  {:<8}  head_dim {:>3}  {:>6} tokens  {:<12}  {:>7.1f} GFLOP/s a core  {:>5.1f}% of {:.1f}{}{}\n",
                       direction, name(c.dtype), c.head_dim, c.num_tokens, pair.name, rate, 100 * rate / peak, peak,
                       share, compared)
        << std::flush;
  };
  print("forward", rates.forward, beside.forward);
  print("backward", rates.backward, beside.backward);
}

}  // namespace

std::vector<Case> BenchAttentionOptions::default_cases() {
  std::vector<Case> cases;
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const int64_t num_tokens : {4096, 16384}) {
      for (const int64_t head_dim : {64, 128}) cases.push_back({dtype, head_dim, num_tokens, Kind::kCausal});
    }
    for (const Kind kind : {Kind::kDocuments, Kind::kWindow, Kind::kOneHead}) {
      for (const int64_t head_dim : {64, 128}) cases.push_back({dtype, head_dim, 16384, kind});
    }
    cases.push_back({dtype, 128, 4096, Kind::kGroups});
  }
  return cases;
}

void bench_attention(const BenchAttentionOptions& options, std::ostream& out) {
  if (options.num_threads < 1 || !(options.min_seconds > 0)) {
    raise(ErrorKind::kConfiguration, "{} threads for {} seconds cannot be measured", options.num_threads,
          options.min_seconds);
  }
  const auto kernels = std::make_shared<KernelSet>("cpu");
  add_cpu_attention(*kernels, options.level);
  out << describe_peaks(options.num_threads, options.level) << "\n";
  out << fmt::format("block attention, {} {}, {} instructions; the share is of the fp32 multiply-adds of a core\n",
                     options.num_threads, options.num_threads == 1 ? "thread" : "threads", name(options.level));
  for (const Case& c : options.cases) run_case(options, c, kernels, out);
}

}  // namespace longspan
