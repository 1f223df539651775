#include "launcher/bench_elementwise.h"

#include <fmt/format.h>

#include <functional>

#include "core/base/cache_size.h"
#include "core/kernels/activation.h"
#include "core/kernels/backends.h"
#include "core/kernels/elementwise.h"
#include "core/kernels/embedding.h"
#include "core/kernels/loss.h"
#include "core/kernels/normalization.h"
#include "core/kernels/optimizer.h"
#include "core/kernels/rotary.h"
#include "launcher/bench_tools.h"
#include "launcher/stream_copy.h"

namespace longspan {
namespace {

struct Sizes {
  int64_t tokens, hidden, mlp, heads, head_dim, vocabulary, loss_tokens;
};
// Single tensors of 64 and 128 MiB.
Sizes large_sizes(int64_t hidden) {
  constexpr int64_t kElements = int64_t{1} << 25, kHeadDim = 128;
  return {.tokens = kElements / hidden,
          .hidden = hidden,
          .mlp = hidden,
          .heads = std::max<int64_t>(1, hidden / kHeadDim),
          .head_dim = std::min(hidden, kHeadDim),
          .vocabulary = 32768,
          .loss_tokens = 1024};
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
  Tensor tokens(int64_t count, int64_t bound) const {
    const Tensor tokens = context_.empty({count}, DType::kInt32);
    for (int64_t t = 0; t < count; ++t) tokens.data<int32_t>()[t] = static_cast<int32_t>(t * 7919 % bound);
    return tokens;
  }

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

// One thread is timed by its CPU time, which other programs on its core do not lengthen, several by the clock.
struct Report {
  const BenchElementwiseOptions& options;
  const Context& context;
  const StreamCopy& copy;
  std::ostream& out;

  // An operation over [rows, n] that reads and writes `bytes`.
  void time(const char* operation, const Shape& shape, size_t bytes, const std::function<void()>& body) const {
    const auto now = options.num_threads == 1 ? thread_cpu_seconds : clock_seconds;
    // In turn, as what memory gives changes within seconds on a machine that others use, too.
    double rate = 0, peak = 0;
    const double begin = clock_seconds();
    for (int i = 0; i < 8 || clock_seconds() - begin < options.min_seconds; ++i) {
      peak = std::max(peak, copy.once());
      if (bytes <= last_level_cache_bytes()) body();  // the copy has emptied the cache
      const double start = now();
      body();
      rate = std::max(rate, 1e-9 * static_cast<double>(bytes) / (now() - start));
    }
    out << fmt::format("{:<28}  {:<8}  {:>6} x {:<5}  {:>2} {}  {:>6.1f} GB/s  {:>5.1f}% of {:.1f}\n", operation,
                       name(context.compute_dtype()), shape[0], shape[1], options.num_threads,
                       options.num_threads == 1 ? "thread " : "threads", rate, 100 * rate / peak, peak)
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

void time_all(const BenchElementwiseOptions& options, const Sizes& sizes, const Context& context, const StreamCopy& copy,
              std::ostream& out) {
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
  if (options.num_threads < 1 || !(options.min_seconds > 0) || options.hidden_size < 2 || options.hidden_size % 2 != 0) {
    raise(ErrorKind::kConfiguration, "hidden size {} on {} threads for {} seconds cannot be measured", options.hidden_size,
          options.num_threads, options.min_seconds);
  }
  const auto kernels = std::make_shared<KernelSet>("cpu");
  add_cpu_kernels(*kernels, options.level);
  const auto context_for = [&](DType dtype) {
    return Context({.device = {},
                    .compute_dtype = dtype,
                    .num_threads = options.num_threads,
                    .memory = std::make_shared<HostResource>(),
                    .kernels = kernels});
  };
  const Context plain = context_for(DType::kFloat32);
  StreamCopy copy(plain);
  const CopyRates& rates = copy.measure();
  out << describe_peaks(options.num_threads, options.level) << "\n";
  out << fmt::format("stream copy, {} {}: {:.1f} GB/s with non-temporal stores, {:.1f} with ordinary ones; reading alone {:.1f}\n",
                     options.num_threads, options.num_threads == 1 ? "thread" : "threads", rates.streaming, rates.cached,
                     rates.read);
  for (const Sizes& sizes : {large_sizes(options.hidden_size), kSmall}) {
    for (const DType dtype : options.dtypes) time_all(options, sizes, context_for(dtype), copy, out);
  }
}

}  // namespace longspan
