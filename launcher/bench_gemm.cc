#include "launcher/bench_gemm.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "core/kernels/backends.h"
#include "core/kernels/linear_algebra.h"
#include "launcher/bench_tools.h"

namespace longspan {
namespace {

constexpr int64_t kTileTokens = 1024, kVocabulary = 32000;

// Of products of the dtype: the best that oneDNN could do from registers with the instructions of this machine. The level
// decides only whether bfloat16 is multiplied by itself or as float32.
double measure_product_peak(const BenchGemmOptions& options, DType dtype) {
  const double peak = measure_fma_peak(options.num_threads, supported_cpu_levels().back());
  if (dtype != DType::kBFloat16 || options.level < CpuLevel::kAvx512Bf16) return peak;
  return std::max({peak, measure_dot_peak(options.num_threads), measure_amx_peak(options.num_threads, AmxOperands::kRegisters)});
}

struct Layer {
  const char* what;
  int64_t tokens, out, in;
  DType output;
};

std::vector<Layer> layers_of(const BenchGemmOptions& options, int64_t hidden, DType dtype) {
  const int64_t tokens = options.num_tokens, mlp = (8 * hidden + 23) / 24 * 8;  // 8/3, to the next 8
  return {{"projection", tokens, hidden, hidden, dtype},
          {"gate or up", tokens, mlp, hidden, dtype},
          {"down", tokens, hidden, mlp, dtype},
          {"head", std::min(tokens, kTileTokens), kVocabulary, hidden, DType::kFloat32}};
}

struct Product {
  const char* name;
  std::function<void()> run;
};

std::vector<Product> products_of(const Context& context, const Layer& layer) {
  const DType dtype = context.compute_dtype();
  const auto& algebra = context.kernels<LinearAlgebra>();
  const Tensor x = random_tensor(context, {layer.tokens, layer.in}, dtype, "x");
  const Tensor dy = random_tensor(context, {layer.tokens, layer.out}, dtype, "dy");
  const Tensor w = random_tensor(context, {layer.out, layer.in}, dtype, "w");
  const Tensor packed = algebra.pack(context, Transpose::kNo, w), transposed = algebra.pack(context, Transpose::kYes, w);
  const Tensor y = context.empty(dy.shape(), layer.output), dx = context.empty(x.shape(), dtype);
  const Tensor dw = context.zeros(w.shape(), DType::kFloat32);
  return {{"forward", [=, &context, &algebra] {
             algebra.gemm(context, {.b = Transpose::kYes, .packed_b = transposed}, x, w, y);
           }},
          {"input gradient", [=, &context, &algebra] { algebra.gemm(context, {.packed_b = packed}, dy, w, dx); }},
          {"weight gradient", [=, &context, &algebra] {
             algebra.gemm(context, {.a = Transpose::kYes, .write = Write::kAccumulate}, dy, x, dw);
           }}};
}

void run_layer(const BenchGemmOptions& options, const Context& context, const Layer& layer, std::ostream& out) {
  const double gflop = 2e-9 * static_cast<double>(layer.tokens) * static_cast<double>(layer.out) *
                       static_cast<double>(layer.in) / options.num_threads;
  const auto peak_now = [&] { return measure_product_peak(options, context.compute_dtype()); };
  double before = peak_now();
  for (const Product& product : products_of(context, layer)) {
    const double seconds = best_seconds(options.num_threads, options.min_seconds, product.run);
    const double after = peak_now(), peak = std::max(before, after);
    before = after;
    out << fmt::format("{:<15}  {:<8}  {:<10}  {:>5} tokens  {:>5} x {:<5}  {:>7.1f} GFLOP/s a core  {:>5.1f}% of {:.1f}\n",
                       product.name, name(context.compute_dtype()), layer.what, layer.tokens, layer.out, layer.in,
                       gflop / seconds, 100 * gflop / seconds / peak, peak)
        << std::flush;
  }
}

}  // namespace

void bench_gemm(const BenchGemmOptions& options, std::ostream& out) {
  if (options.num_threads < 1 || !(options.min_seconds > 0) || options.num_tokens < 1 ||
      std::any_of(options.hidden_sizes.begin(), options.hidden_sizes.end(), [](int64_t size) { return size < 1; })) {
    raise(ErrorKind::kConfiguration, "{} threads, {} tokens and {} seconds cannot be measured", options.num_threads,
          options.num_tokens, options.min_seconds);
  }
  out << fmt::format("products of a training step, {} {}, {} kernels; the share is of what a core of this machine can multiply from registers\n",
                     options.num_threads, options.num_threads == 1 ? "thread" : "threads", name(options.level));
  const auto kernels = std::make_shared<KernelSet>("cpu");
  add_cpu_kernels(*kernels, options.level);
  for (const int64_t hidden : options.hidden_sizes) {
    for (const DType dtype : options.dtypes) {
      const Context context({.device = {},
                             .compute_dtype = dtype,
                             .num_threads = options.num_threads,
                             .memory = std::make_shared<CachingResource>(std::make_shared<HostResource>()),
                             .kernels = kernels});
      for (const Layer& layer : layers_of(options, hidden, dtype)) run_layer(options, context, layer, out);
    }
  }
}

}  // namespace longspan
