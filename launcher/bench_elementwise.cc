#include "launcher/bench_elementwise.h"

#include <fmt/format.h>

#include <functional>

#include "core/base/cache_size.h"
#include "core/kernels/activation.h"
#include "core/kernels/elementwise.h"
#include "core/kernels/embedding.h"
#include "core/kernels/loss.h"
#include "core/kernels/normalization.h"
#include "core/kernels/optimizer.h"
#include "core/kernels/rotary.h"

namespace longspan {
namespace {

struct Sizes {
  int64_t tokens, hidden, mlp, heads, head_dim, vocabulary, loss_tokens;
};
// By default single tensors of 64 and 128 MiB.
Sizes large_sizes(const BenchElementwiseOptions& options) {
  constexpr int64_t kHeadDim = 128;
  const int64_t hidden = options.hidden_size;
  return {.tokens = std::max<int64_t>(1, options.num_elements / hidden),
          .hidden = hidden,
          .mlp = hidden,
          .heads = std::max<int64_t>(1, hidden / kHeadDim),
          .head_dim = std::min(hidden, kHeadDim),
          .vocabulary = options.vocabulary_size,
          .loss_tokens = options.loss_tokens};
}
// The model of configs/quickstart.textproto with 4096 tokens.
constexpr Sizes kSmall = {4096, 256, 688, 4, 64, 256, 1024};

// Tensors of one size and dtype, made when first asked for; operations that follow one another share them.
class Operands {
 public:
  Operands(const Context& context, const Sizes& sizes) : context_(context), s(sizes) {}
  // The i-th [rows, n] of the compute dtype.
  Tensor x(int i, int64_t rows, int64_t n) { return get(compute_, i, {rows, n}, context_.compute_dtype()); }
  // The same in the accumulator.
  Tensor wide(int i, int64_t rows, int64_t n) { return get(wide_, i, {rows, n}, DType::kFloat32); }
  Tensor tokens(int64_t count, int64_t bound) const { return spread_tokens(context_, count, bound); }

 private:
  Tensor get(std::vector<Tensor>& all, int i, const Shape& shape, DType dtype) {
    constexpr const char* kNames[] = {"a", "b", "c", "d", "e"};
    const auto number = static_cast<size_t>(i);
    if (all.size() <= number) all.resize(number + 1);
    Tensor& tensor = all[number];
    if (!tensor.defined() || tensor.num_elements() < shape.num_elements()) {
      tensor = random_tensor(context_, {shape.num_elements()}, dtype, kNames[number]);
    }
    return tensor.slice(0, 0, shape.num_elements()).reshape(shape);
  }

  const Context& context_;
  std::vector<Tensor> compute_, wide_;

 public:
  const Sizes s;
};

struct Report {
  const BenchElementwiseOptions& options;
  const Context& context;
  MemoryCopy& copy;
  std::ostream& out;

  // An operation over [rows, n] that reads and writes `bytes`.
  void time(const char* operation, const Shape& shape, size_t bytes, const std::function<void()>& body) const {
    // In turn, as what memory gives changes within seconds on a machine that others use, too.
    Stopwatch watch(context, body);
    double peak = 0;
    const BenchMachine& machine = options.machine;
    const double begin = clock_seconds();
    for (int i = 0; i < 8 || clock_seconds() - begin < options.min_seconds; ++i) {
      peak = std::max(peak, copy.once());
      if (machine.on_cpu() && bytes <= last_level_cache_bytes()) body();  // the copy has emptied the cache
      watch.sample();
    }
    const double rate = 1e-9 * static_cast<double>(bytes) / watch.seconds();
    const char* threads = machine.num_threads() == 1 ? "thread " : "threads";
    const std::string on = machine.on_cpu() ? fmt::format("{:>2} {}", machine.num_threads(), threads) : "device";
    out << fmt::format("{:<28}  {:<8}  {:>6} x {:<6}  {}  {:>6.1f} GB/s  {:>5.1f}% of {:.1f}\n", operation,
                       name(context.compute_dtype()), shape[0], shape[1], on, rate, 100 * rate / peak, peak)
        << std::flush;
  }
};

size_t bytes_of(std::initializer_list<Tensor> tensors) {
  size_t sum = 0;
  for (const Tensor& t : tensors) sum += t.num_bytes();
  return sum;
}

void time_normalization(const Report& report, Operands& o) {
  const Context& c = report.context;
  const auto& kernels = c.kernels<Normalization>();
  const int64_t rows = o.s.tokens, n = o.s.hidden;
  const Tensor x = o.x(0, rows, n), y = o.x(1, rows, n), z = o.x(2, rows, n), sum = o.x(3, rows, n);
  const Tensor weight = o.x(4, 1, n).reshape({n}), dweight = o.wide(0, 1, n).reshape({n});
  const Tensor inverse = o.wide(1, rows, 1).reshape({rows});
  report.time("rms_norm forward", x.shape(), bytes_of({x, y}),
              [&] { kernels.rms_norm_forward(c, 1e-5, x, weight, y, inverse); });
  report.time("rms_norm forward, residual", x.shape(), bytes_of({x, z, sum, y}),
              [&] { kernels.rms_norm_residual_forward(c, 1e-5, x, z, weight, sum, y, inverse); });
  report.time("rms_norm gradient", x.shape(), bytes_of({y, x, z}),
              [&] { kernels.rms_norm_backward_input(c, y, x, weight, inverse, z); });
  report.time("rms_norm gradient, residual", x.shape(), bytes_of({y, x, sum, z}),
              [&] { kernels.rms_norm_residual_backward_input(c, y, x, weight, inverse, sum, z); });
  report.time("rms_norm weight gradient", x.shape(), bytes_of({y, x}),
              [&] { kernels.rms_norm_backward_weight(c, y, x, inverse, dweight); });
}

void time_activation_and_rotary(const Report& report, Operands& o) {
  const Context& c = report.context;
  const int64_t rows = o.s.tokens, n = o.s.mlp;
  const Tensor gate = o.x(0, rows, n), up = o.x(1, rows, n), y = o.x(2, rows, n), dgate = o.x(3, rows, n),
               dup = o.x(4, rows, n);
  const auto& activation = c.kernels<Activation>();
  report.time("swiglu forward", y.shape(), bytes_of({gate, up, y}), [&] { activation.swiglu_forward(c, gate, up, y); });
  report.time("swiglu gradient", y.shape(), bytes_of({y, gate, up, dgate, dup}),
              [&] { activation.swiglu_backward(c, y, gate, up, dgate, dup); });
  const int64_t width = o.s.heads * o.s.head_dim;
  const Tensor cosine = o.wide(0, rows, o.s.head_dim / 2), sine = o.wide(1, rows, o.s.head_dim / 2);
  const Tensor q = o.x(0, rows, width).reshape({rows, o.s.heads, o.s.head_dim});
  report.time("rotary", {rows, width}, bytes_of({q, q, cosine, sine}),
              [&] { c.kernels<Rotary>().rotate(c, RotaryDirection::kForward, cosine, sine, q); });
}

void time_elementwise(const Report& report, Operands& o) {
  const Context& c = report.context;
  const auto& kernels = c.kernels<Elementwise>();
  const int64_t rows = o.s.tokens, n = o.s.hidden;
  const Tensor a = o.x(0, rows, n), b = o.x(1, rows, n), sum = o.x(2, rows, n), wide = o.wide(0, rows, n);
  const Tensor bias = o.x(3, 1, n).reshape({n}), dbias = o.wide(1, 1, n).reshape({n});
  report.time("add", a.shape(), bytes_of({a, b, sum}), [&] { kernels.add(c, a, b, sum); });
  report.time("add in place", a.shape(), bytes_of({a, b, b}), [&] { kernels.add(c, a, b, b); });
  report.time("accumulate", a.shape(), bytes_of({a, wide, wide}), [&] { kernels.accumulate(c, a, wide); });
  if (c.compute_dtype() == DType::kBFloat16) {
    report.time("convert to float32", a.shape(), bytes_of({a, wide}), [&] { kernels.convert(c, a, wide); });
    report.time("convert from float32", a.shape(), bytes_of({a, wide}), [&] { kernels.convert(c, wide, a); });
  }
  report.time("bias", a.shape(), bytes_of({a, a}), [&] { kernels.add_bias(c, bias, a); });
  report.time("bias gradient", a.shape(), bytes_of({a}), [&] { kernels.accumulate_rows(c, b, dbias); });
}

void time_optimizer(const Report& report, Operands& o) {
  const Context& c = report.context;
  const auto& kernels = c.kernels<OptimizerKernels>();
  const int64_t rows = o.s.tokens, n = o.s.hidden;
  const Tensor g = o.wide(0, rows, n), w = o.wide(1, rows, n), m = o.wide(2, rows, n), v = o.wide(3, rows, n);
  const bool copied = c.compute_dtype() != DType::kFloat32;
  const Tensor value = copied ? o.x(0, rows, n) : w;
  kernels.adamw(c, {.beta2 = 0}, g, w, m, v, value);  // leaves squares in v, as the step below wants
  report.time("adamw", w.shape(), bytes_of({g, w, w, m, m, v, v}) + (copied ? value.num_bytes() : 0),
              [&] { kernels.adamw(c, {.learning_rate = 1e-6}, g, w, m, v, value); });
  report.time("sum of squares", w.shape(), bytes_of({g}), [&] { kernels.sum_of_squares(c, g); });
}

void time_tokens(const Report& report, Operands& o) {
  const Context& c = report.context;
  const int64_t rows = o.s.tokens, n = o.s.hidden, vocabulary = o.s.vocabulary, tile = o.s.loss_tokens;
  const Tensor tokens = o.tokens(rows, vocabulary), table = o.x(0, vocabulary, n), y = o.x(1, rows, n);
  const Tensor dtable = o.wide(0, vocabulary, n), touched = o.wide(1, std::min(rows, vocabulary), n);
  const auto& embedding = c.kernels<Embedding>();
  report.time("embedding", y.shape(), bytes_of({y, y}), [&] { embedding.gather(c, tokens, table, y); });
  report.time("embedding gradient", y.shape(), bytes_of({y, touched, touched}),
              [&] { embedding.scatter_add(c, tokens, y, dtable); });
  const Tensor logits = o.wide(0, tile, vocabulary), dlogits = o.x(0, tile, vocabulary);
  const Tensor targets = o.tokens(tile, vocabulary), losses = o.wide(1, tile, 1).reshape({tile});
  const auto& loss = c.kernels<Loss>();
  report.time("cross entropy", logits.shape(), bytes_of({logits}),
              [&] { loss.cross_entropy(c, logits, targets, losses); });
  report.time("cross entropy, gradient", logits.shape(), bytes_of({logits, dlogits}),
              [&] { loss.cross_entropy_with_gradient(c, logits, targets, 1e-3, losses, dlogits); });
}

void time_all(const BenchElementwiseOptions& options, const Sizes& sizes, DType dtype, MemoryCopy& copy, std::ostream& out) {
  const Context context = options.machine.context(dtype);
  Operands operands(context, sizes);
  const Report report{options, context, copy, out};
  time_normalization(report, operands);
  time_activation_and_rotary(report, operands);
  time_elementwise(report, operands);
  time_optimizer(report, operands);
  time_tokens(report, operands);
}

}  // namespace

void bench_elementwise(const BenchElementwiseOptions& options, std::ostream& out) {
  const BenchMachine& machine = options.machine;
  expect_measurable(machine, options.min_seconds);
  if (options.hidden_size < 2 || options.hidden_size % 2 != 0) {
    raise(ErrorKind::kConfiguration, "a hidden size of {} cannot be measured", options.hidden_size);
  }
  if (machine.on_cpu()) out << describe_machine(machine, DType::kFloat32) << "\n";
  MemoryCopy copy(machine);
  out << fmt::format("{}{}\n", machine.on_cpu() ? "" : machine.name + ": ", copy.description());
  std::vector<Sizes> all = {large_sizes(options)};
  if (machine.on_cpu()) all.push_back(kSmall);
  for (const Sizes& sizes : all) {
    for (const DType dtype : options.dtypes) time_all(options, sizes, dtype, copy, out);
  }
}

}  // namespace longspan
