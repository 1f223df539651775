#include "launcher/bench_machine.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/kernels/linear_algebra.h"
#include "launcher/rank_device.h"
#include "launcher/stream_copy.h"
#include "train/rank_context.h"

namespace longspan {

Context BenchMachine::context(DType compute_dtype) const { return RankContext(compute_dtype, resources).context(); }

double BenchMachine::in_unit(double flop_per_second) const {
  return on_cpu() ? 1e-9 * flop_per_second / num_threads() : 1e-12 * flop_per_second;
}

std::string BenchMachine::rate_text(double flop_per_second) const {
  return fmt::format("{:>7.1f} {}", in_unit(flop_per_second), unit());
}

std::string BenchMachine::description() const {
  if (!on_cpu()) return name;
  return fmt::format("{} {}, {} instructions", num_threads(), num_threads() == 1 ? "thread" : "threads", longspan::name(level()));
}

struct ProductPeak::Square {
  Square(const BenchMachine& machine, DType dtype)
      : context(machine.context(dtype)),
        a(random_tensor(context, {machine.square, machine.square}, dtype, "a")),
        b(random_tensor(context, a.shape(), dtype, "b")),
        c(context.empty(a.shape(), dtype)),
        watch(context, [this] { context.kernels<LinearAlgebra>().gemm(context, {.b = Transpose::kYes}, a, b, c); }) {}
  Square(const Square&) = delete;
  Square& operator=(const Square&) = delete;

  Context context;
  Tensor a, b, c;
  Stopwatch watch;
};

ProductPeak::ProductPeak(const BenchMachine& machine, DType dtype) : machine_(machine), dtype_(dtype) {
  if (!machine.on_cpu()) square_ = std::make_unique<Square>(machine, dtype);
}

ProductPeak::~ProductPeak() = default;

double ProductPeak::measure() {
  if (square_) return 2 * std::pow(static_cast<double>(machine_.square), 3) / square_->watch.sample();
  const int num_threads = machine_.num_threads();
  double peak = measure_fma_peak(num_threads, supported_cpu_levels().back());
  if (dtype_ == DType::kBFloat16 && machine_.level() >= CpuLevel::kAvx512Bf16) {
    peak = std::max({peak, measure_dot_peak(num_threads), measure_amx_peak(num_threads, AmxOperands::kRegisters)});
  }
  return 1e9 * num_threads * peak;
}

std::string describe_machine(const BenchMachine& machine, DType dtype) {
  if (machine.on_cpu()) return describe_peaks(machine.num_threads(), machine.level());
  constexpr int kSamples = 5;  // clocks rise under load
  ProductPeak peak(machine, dtype);
  double products = 0;
  for (int i = 0; i < kSamples; ++i) products = std::max(products, peak.measure());
  const double datasheet = datasheet_peak(machine.name);
  std::string text = fmt::format("{}: products of {} x {} in {} {:.1f} {}", machine.name, machine.square, machine.square,
                                 name(dtype), machine.in_unit(products), machine.unit());
  if (datasheet > 0) text += fmt::format("; {:.1f} in bfloat16 by its data sheet", machine.in_unit(datasheet));
  return text + "; " + MemoryCopy(machine).description();
}

struct MemoryCopy::OnDevice {
  explicit OnDevice(const BenchMachine& machine)
      : context(machine.context(DType::kFloat32)),
        from(context.zeros({machine.copy_bytes}, DType::kUInt8)),
        to(context.zeros(from.shape(), DType::kUInt8)),
        watch(context, [this] { context.copy(from, to); }) {}
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  Context context;
  Tensor from, to;
  Stopwatch watch;
};

struct MemoryCopy::OnHost {
  explicit OnHost(const BenchMachine& machine)
      : context(machine.context(DType::kFloat32)), copy(context), rates(copy.measure()) {}
  OnHost(const OnHost&) = delete;
  OnHost& operator=(const OnHost&) = delete;

  Context context;
  StreamCopy copy;
  CopyRates rates;
};

MemoryCopy::MemoryCopy(const BenchMachine& machine) : machine_(machine) {
  if (machine.on_cpu()) {
    on_host_ = std::make_unique<OnHost>(machine);
  } else {
    on_device_ = std::make_unique<OnDevice>(machine);
  }
}

MemoryCopy::~MemoryCopy() = default;

double MemoryCopy::once() {
  if (on_host_) return on_host_->copy.once();
  return 2e-9 * static_cast<double>(machine_.copy_bytes) / on_device_->watch.sample();
}

std::string MemoryCopy::description() {
  if (on_host_) {
    const CopyRates& rates = on_host_->rates;
    return fmt::format("stream copy, {} {}: {:.1f} GB/s with non-temporal stores, {:.1f} with ordinary ones; reading alone "
                       "{:.1f}",
                       machine_.num_threads(), machine_.num_threads() == 1 ? "thread" : "threads", rates.streaming, rates.cached,
                       rates.read);
  }
  double best = 0;
  for (int i = 0; i < 5; ++i) best = std::max(best, once());
  return fmt::format("a copy reads and writes {:.1f} GB/s", best);
}

void expect_measurable(const BenchMachine& machine, double min_seconds) {
  if (machine.num_threads() >= 1 && min_seconds > 0) return;
  raise(ErrorKind::kConfiguration, "{} threads for {} seconds cannot be measured", machine.num_threads(), min_seconds);
}

}  // namespace longspan
