// Kernels that memory bounds, in bytes that they must read and write, as a share of a copy. 64 MiB in bfloat16 per operand.
#include <fmt/core.h>

#include "core/kernels/activation.h"
#include "core/kernels/elementwise.h"
#include "core/kernels/embedding.h"
#include "core/kernels/loss.h"
#include "core/kernels/normalization.h"
#include "core/kernels/optimizer.h"
#include "core/kernels/rotary.h"
#include "tests/core/cuda/gpu_benchmark.h"

namespace longspan::test {

namespace {

constexpr int64_t kRows = 8192, kHidden = 4096, kHeads = 32, kHeadDim = 128, kVocabulary = 131072, kLossTokens = 2048;

struct Report {
  const Context& context;
  double copy_rate;

  void time(const char* what, std::initializer_list<Tensor> moved, const std::function<void()>& body) const {
    double num_bytes = 0;
    for (const Tensor& tensor : moved) num_bytes += tensor.defined() ? static_cast<double>(tensor.num_bytes()) : 0;
    const double rate = num_bytes / seconds_of(context, body);
    fmt::print("{:<28}  {:<8}  {:>7.0f} GB/s  {:>5.1f}% of copy\n", what, name(context.compute_dtype()), rate * 1e-9,
               100 * rate / copy_rate);
  }
};

void time_normalization(const Report& report) {
  const Context& c = report.context;
  const DType dtype = c.compute_dtype();
  const auto& kernels = c.kernels<Normalization>();
  const auto make = [&] { return random_on_device(c, {kRows, kHidden}, dtype); };
  const Tensor x = make(), y = make(), z = make(), sum = make(), weight = random_on_device(c, {kHidden}, dtype);
  const Tensor inverse = random_on_device(c, {kRows}, DType::kFloat32, 0.5f);
  const Tensor dweight = random_on_device(c, {kHidden}, DType::kFloat32);
  report.time("rms_norm forward", {x, y}, [&] { kernels.rms_norm_forward(c, 1e-5, x, weight, y, inverse); });
  report.time("rms_norm forward, residual", {x, z, sum, y},
              [&] { kernels.rms_norm_residual_forward(c, 1e-5, x, z, weight, sum, y, inverse); });
  report.time("rms_norm gradient", {y, x, z}, [&] { kernels.rms_norm_backward_input(c, y, x, weight, inverse, z); });
  report.time("rms_norm gradient, residual", {y, x, sum, z},
              [&] { kernels.rms_norm_residual_backward_input(c, y, x, weight, inverse, sum, z); });
  report.time("rms_norm weight gradient", {y, x}, [&] { kernels.rms_norm_backward_weight(c, y, x, inverse, dweight); });
}

void time_activation_and_rotary(const Report& report) {
  const Context& c = report.context;
  const auto& activation = c.kernels<Activation>();
  const auto make = [&] { return random_on_device(c, {kRows, kHidden}, c.compute_dtype()); };
  const Tensor gate = make(), up = make(), y = make(), dgate = make(), dup = make();
  report.time("swiglu forward", {gate, up, y}, [&] { activation.swiglu_forward(c, gate, up, y); });
  report.time("swiglu gradient", {y, gate, up, dgate, dup}, [&] { activation.swiglu_backward(c, y, gate, up, dgate, dup); });
  const Tensor cosine = random_on_device(c, {kRows, kHeadDim / 2}, DType::kFloat32);
  const Tensor sine = random_on_device(c, {kRows, kHeadDim / 2}, DType::kFloat32), q = y.reshape({kRows, kHeads, kHeadDim});
  report.time("rotary", {q, q, cosine, sine}, [&] { c.kernels<Rotary>().rotate(c, RotaryDirection::kForward, cosine, sine, q); });
}

void time_elementwise_and_optimizer(const Report& report) {
  const Context& c = report.context;
  const DType dtype = c.compute_dtype();
  const auto& kernels = c.kernels<Elementwise>();
  const auto wide = [&](float low = -0.5f) { return random_on_device(c, {kRows, kHidden}, DType::kFloat32, low); };
  const Tensor a = random_on_device(c, {kRows, kHidden}, dtype), b = random_on_device(c, {kRows, kHidden}, dtype);
  const Tensor gradient = wide(), master = wide(), first = wide(), second = wide(0.5f);
  const Tensor bias = random_on_device(c, {kHidden}, dtype), dbias = random_on_device(c, {kHidden}, DType::kFloat32);
  report.time("add", {a, b, b}, [&] { kernels.add(c, a, b, b); });
  report.time("accumulate", {a, gradient, gradient}, [&] { kernels.accumulate(c, a, gradient); });
  report.time("bias", {a, a}, [&] { kernels.add_bias(c, bias, a); });
  report.time("bias gradient", {a}, [&] { kernels.accumulate_rows(c, a, dbias); });
  const auto& optimizer = c.kernels<OptimizerKernels>();
  const bool copied = dtype != DType::kFloat32;
  report.time("adamw", {gradient, master, master, first, first, second, second, copied ? a : Tensor()},
              [&] { optimizer.adamw(c, {.learning_rate = 1e-6}, gradient, master, first, second, copied ? a : master); });
  report.time("sum of squares", {gradient}, [&] { optimizer.sum_of_squares(c, gradient); });
}

void time_tokens(const Report& report) {
  const Context& c = report.context;
  const DType dtype = c.compute_dtype();
  const auto& embedding = c.kernels<Embedding>();
  const Tensor tokens = tokens_on_device(c, kRows, kVocabulary), y = random_on_device(c, {kRows, kHidden}, dtype);
  const Tensor table = random_on_device(c, {kVocabulary, kHidden}, dtype);
  report.time("embedding", {y, y}, [&] { embedding.gather(c, tokens, table, y); });
  const Tensor dtable = random_on_device(c, {kVocabulary, kHidden}, DType::kFloat32), touched = dtable.slice(0, 0, kRows);
  report.time("embedding gradient", {y, touched, touched}, [&] { embedding.scatter_add(c, tokens, y, dtable); });
  const Tensor logits = random_on_device(c, {kLossTokens, kVocabulary}, DType::kFloat32);
  const Tensor losses = c.empty({kLossTokens}, DType::kFloat32);
  const Tensor dlogits = c.empty({kLossTokens, kVocabulary}, dtype), targets = tokens_on_device(c, kLossTokens, kVocabulary);
  const auto& loss = c.kernels<Loss>();
  report.time("cross entropy", {logits}, [&] { loss.cross_entropy(c, logits, targets, losses); });
  report.time("cross entropy, gradient", {logits, dlogits},
              [&] { loss.cross_entropy_with_gradient(c, logits, targets, 1e-3, losses, dlogits); });
}

}  // namespace

void bench_memory_bound(const Context& context, double copy_rate) {
  const Report report = {context, copy_rate};
  time_normalization(report);
  time_activation_and_rotary(report);
  time_elementwise_and_optimizer(report);
  time_tokens(report);
}

}  // namespace longspan::test
