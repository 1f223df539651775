#include "launcher/bench_gemm.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "core/kernels/linear_algebra.h"

namespace longspan {
namespace {

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
          {"head", std::min(tokens, options.head_tokens), options.vocabulary_size, hidden, DType::kFloat32}};
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

void run_layer(const BenchGemmOptions& options, const Context& context, ProductPeak& peaks, const Layer& layer,
               std::ostream& out) {
  const BenchMachine& machine = options.machine;
  const double flop =
      2 * static_cast<double>(layer.tokens) * static_cast<double>(layer.out) * static_cast<double>(layer.in);
  double before = peaks.measure();
  for (const Product& product : products_of(context, layer)) {
    const double rate = flop / Stopwatch(context, product.run).seconds_within(options.min_seconds);
    const double after = peaks.measure(), peak = std::max(before, after);
    before = after;
    out << fmt::format("{:<15}  {:<8}  {:<10}  {:>5} tokens  {:>5} x {:<5}  {}  {:>5.1f}% of {:.1f}\n", product.name,
                       name(context.compute_dtype()), layer.what, layer.tokens, layer.out, layer.in, machine.rate_text(rate),
                       100 * rate / peak, machine.in_unit(peak))
        << std::flush;
  }
}

}  // namespace

void bench_gemm(const BenchGemmOptions& options, std::ostream& out) {
  const BenchMachine& machine = options.machine;
  expect_measurable(machine, options.min_seconds);
  if (options.num_tokens < 1 ||
      std::any_of(options.hidden_sizes.begin(), options.hidden_sizes.end(), [](int64_t size) { return size < 1; })) {
    raise(ErrorKind::kConfiguration, "products of {} tokens cannot be measured", options.num_tokens);
  }
  out << fmt::format("products of a training step, {}; the share is of {}\n", machine.description(),
                     machine.on_cpu() ? "what a core of this machine can multiply from registers"
                                      : fmt::format("a product of {0} x {0}", machine.square));
  for (const DType dtype : options.dtypes) {
    const Context context = machine.context(dtype);
    ProductPeak peaks(machine, dtype);
    for (const int64_t hidden : options.hidden_sizes) {
      for (const Layer& layer : layers_of(options, hidden, dtype)) run_layer(options, context, peaks, layer, out);
    }
  }
}

}  // namespace longspan
