#include "launcher/bench_attention.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>

#include "launcher/attention_work.h"

namespace longspan {
namespace {

using Case = BenchAttentionOptions::Case;
using Kind = BenchAttentionOptions::Kind;

constexpr int64_t kDocuments = 64;

int64_t heads_of(const BenchMachine& machine, int64_t head_dim) {
  return machine.on_cpu() ? machine.num_threads() : std::max<int64_t>(1, machine.width / head_dim);
}

std::unique_ptr<AttentionWork> work_of(const Case& c, const BenchMachine& machine) {
  const int64_t num_heads = heads_of(machine, c.head_dim);
  AttentionWorkShape shape = {
      .num_tokens = c.num_tokens, .num_heads = num_heads, .num_kv_heads = num_heads, .head_dim = c.head_dim};
  if (c.kind == Kind::kOneHead) shape.num_heads = shape.num_kv_heads = 1;
  if (c.kind == Kind::kGroups) {
    if (machine.on_cpu()) shape.num_heads *= 8;
    shape.num_heads = (shape.num_heads + 3) / 4 * 4;
    shape.num_kv_heads = shape.num_heads / 4;
  }
  std::vector<IndexInterval> visible = causal_tokens(c.num_tokens);
  if (c.kind == Kind::kFull) visible.assign(visible.size(), {0, c.num_tokens});
  if (c.kind == Kind::kDocuments) visible = document_tokens(c.num_tokens, kDocuments);
  if (c.kind == Kind::kWindow) visible = window_tokens(c.num_tokens, 1024);
  return std::make_unique<AttentionWork>(machine.context(c.dtype), shape, visible);
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

Pair pair_of(const Case& c, const BenchMachine& machine) {
  const auto causal_of = [&](int64_t num_tokens) {
    return work_of({.dtype = c.dtype, .head_dim = c.head_dim, .num_tokens = num_tokens}, machine);
  };
  switch (c.kind) {
    case Kind::kCausal: return {work_of(c, machine), nullptr, "causal", ""};
    case Kind::kFull: return {work_of(c, machine), nullptr, "full", ""};
    case Kind::kDocuments:
      return {work_of(c, machine), causal_of(causal_of_area(document_tokens(c.num_tokens, kDocuments))), "64 documents",
              "of causal of the same area"};
    case Kind::kWindow: return {work_of(c, machine), causal_of(c.num_tokens), "window 1024", "of causal"};
    case Kind::kGroups: return {work_of(c, machine), causal_of(c.num_tokens), "8 heads on 2", "of one head on one"};
    case Kind::kOneHead: break;
  }
  if (!machine.on_cpu()) raise(ErrorKind::kConfiguration, "a device has no threads that could share one head");
  BenchMachine many = machine, one = machine;
  many.resources.num_threads = std::max(2, machine.num_threads());
  one.resources.num_threads = 1;
  return {work_of(c, many), work_of({.dtype = c.dtype, .head_dim = c.head_dim, .num_tokens = c.num_tokens}, one),
          fmt::format("{} threads", many.num_threads()), "of a core alone"};
}

// In FLOP/s, of a CPU for each of its cores.
struct Rates {
  double forward = 0, backward = 0;
};

class TimedWork {
 public:
  TimedWork(AttentionWork& work, Stopwatch::By by)
      : work_(work),
        forward_(work.context(), [&work] { work.forward(); }, by),
        backward_(work.context(), [&work] { work.backward(); }, by) {}
  void sample() {
    forward_.sample();
    backward_.sample();
  }
  Rates rates() const {
    const Context& context = work_.context();
    const double flop = 1e9 * work_.forward_gflop() / (context.stream().on_device() ? 1 : context.num_threads());
    return {flop / forward_.seconds(), 2.5 * flop / backward_.seconds()};
  }

 private:
  AttentionWork& work_;
  Stopwatch forward_, backward_;
};

void time_pair(double min_seconds, const Pair& pair, Rates& rates, Rates& beside) {
  const auto by = pair.work->context().num_threads() == 1 ? Stopwatch::By::kFairest : Stopwatch::By::kClock;
  TimedWork work(*pair.work, by);
  std::optional<TimedWork> other;
  if (pair.beside) other.emplace(*pair.beside, by);
  const double begin = clock_seconds();
  for (int i = 0; i < 3 || clock_seconds() - begin < 2 * min_seconds; ++i) {
    work.sample();
    if (other) other->sample();
  }
  rates = work.rates();
  if (other) beside = other->rates();
}

// GFLOP/s a core at which the level multiplies the dtype by itself, where that is not by fp32 multiply-adds; else 0.
double product_peak(CpuLevel level, int num_threads, DType dtype) {
  if (dtype != DType::kBFloat16) return 0;
  if (level == CpuLevel::kAmx) return measure_amx_peak(num_threads, AmxOperands::kRegisters);
  return level == CpuLevel::kAvx512Bf16 ? measure_dot_peak(num_threads) : 0;
}

// What the rates of a case are shares of, measured before and after it; the larger counts. As Rates. Those of one dtype.
class Peaks {
 public:
  Peaks(const BenchMachine& machine, DType dtype) : machine_(machine), dtype_(dtype) {
    if (!machine.on_cpu()) square_.emplace(machine, dtype);
  }
  DType dtype() const { return dtype_; }
  void begin_case() { first_ = products_ = 0; }
  void measure(int num_threads) {
    if (square_) {
      first_ = std::max(first_, square_->measure());
      return;
    }
    first_ = std::max(first_, 1e9 * measure_fma_peak(num_threads, machine_.level()));
    products_ = std::max(products_, 1e9 * product_peak(machine_.level(), num_threads, dtype_));
  }
  // "  83.1% of 117.9", and where the level multiplies bfloat16 by itself, its share of that.
  std::string share_text(double rate) const {
    const double unit = square_ ? 1e12 : 1e9;
    std::string text = fmt::format("  {:>5.1f}% of {:.1f}", 100 * rate / first_, first_ / unit);
    if (products_ > 0) text += fmt::format("  {:>5.1f}% of {:.1f} in bfloat16", 100 * rate / products_, products_ / unit);
    return text;
  }

 private:
  const BenchMachine& machine_;
  DType dtype_;
  std::optional<ProductPeak> square_;
  double first_ = 0, products_ = 0;
};

void run_case(const BenchAttentionOptions& options, const Case& c, std::optional<Peaks>& peaks, std::ostream& out) {
  if (c.head_dim < 1 || c.num_tokens < 1) {
    raise(ErrorKind::kConfiguration, "a head of {} over {} tokens cannot be measured", c.head_dim, c.num_tokens);
  }
  if (c.dtype != DType::kFloat32 && c.dtype != DType::kBFloat16) {
    raise(ErrorKind::kConfiguration, "the benchmark knows float32 and bfloat16, not {}", name(c.dtype));
  }
  const Pair pair = pair_of(c, options.machine);
  const int num_threads = pair.work->context().num_threads();
  Rates rates, beside;
  if (!peaks || peaks->dtype() != c.dtype) peaks.emplace(options.machine, c.dtype);
  peaks->begin_case();
  peaks->measure(num_threads);
  time_pair(options.min_seconds, pair, rates, beside);
  peaks->measure(num_threads);
  const double unit = options.machine.on_cpu() ? 1e9 : 1e12;
  const auto print = [&](const char* direction, double rate, double other) {
    const std::string compared = pair.beside ? fmt::format("  {:.2f} {}", rate / other, pair.comparison) : "";
    out << fmt::format("{:<8}  {:<8}  head_dim {:>3}  {:>6} tokens  {:<12}  {:>7.1f} {}{}{}\n", direction, name(c.dtype),
                       c.head_dim, c.num_tokens, pair.name, rate / unit, options.machine.unit(), peaks->share_text(rate),
                       compared)
        << std::flush;
  };
  print("forward", rates.forward, beside.forward);
  print("backward", rates.backward, beside.backward);
}

std::vector<Case> device_cases() {
  std::vector<Case> cases;
  for (const int64_t head_dim : {64, 128}) {
    for (const Kind kind : {Kind::kCausal, Kind::kFull}) {
      for (int64_t num_tokens = 4096; num_tokens <= 131072; num_tokens *= 2) {
        cases.push_back({DType::kBFloat16, head_dim, num_tokens, kind});
      }
    }
    for (const Kind kind : {Kind::kDocuments, Kind::kWindow}) cases.push_back({DType::kBFloat16, head_dim, 65536, kind});
    cases.push_back({DType::kBFloat16, head_dim, 16384, Kind::kGroups});
  }
  return cases;
}

}  // namespace

std::vector<Case> BenchAttentionOptions::default_cases(DeviceType device) {
  if (device != DeviceType::kCpu) return device_cases();
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
  const BenchMachine& machine = options.machine;
  expect_measurable(machine, options.min_seconds);
  out << describe_machine(machine, DType::kBFloat16) << "\n";
  out << fmt::format("block attention, {}; the share is of {}\n", machine.description(),
                     machine.on_cpu() ? "the fp32 multiply-adds of a core" : "the product of square matrices");
  std::optional<Peaks> peaks;
  for (const Case& c : options.cases) run_case(options, c, peaks, out);
}

}  // namespace longspan
