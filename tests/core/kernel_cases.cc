#include "tests/core/kernel_cases.h"

#include <fmt/core.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "core/base/cache_size.h"
#include "core/base/random.h"
#include "core/kernels/activation.h"
#include "core/kernels/backends.h"
#include "core/kernels/elementwise.h"
#include "core/kernels/embedding.h"
#include "core/kernels/linear_algebra.h"
#include "core/kernels/loss.h"
#include "core/kernels/normalization.h"
#include "core/kernels/optimizer.h"
#include "core/kernels/rotary.h"

namespace longspan::test {

namespace {

using Operands = const std::vector<Tensor>&;

double round_to(DType dtype, double value) {
  if (dtype == DType::kFloat64) return value;
  if (dtype == DType::kFloat32) return static_cast<float>(value);
  return static_cast<float>(bfloat16(static_cast<float>(value)));
}

// Calls visit(address of element i in row-major order, i).
template <class Visit>
void for_each_element(const Tensor& tensor, Visit visit) {
  const int rank = tensor.rank();
  const int64_t width = rank == 0 ? 1 : tensor.size(rank - 1);
  const int64_t num_rows = width == 0 ? 0 : tensor.num_elements() / width;
  for (int64_t row = 0; row < num_rows; ++row) {
    int64_t offset = 0, rest = row;
    for (int d = rank - 2; d >= 0; --d) {
      offset += rest % tensor.size(d) * tensor.layout().strides()[d];
      rest /= tensor.size(d);
    }
    auto* first =
        static_cast<std::byte*>(tensor.raw()) + static_cast<size_t>(offset) * size_bytes(tensor.dtype());
    for (int64_t i = 0; i < width; ++i) {
      visit(first + static_cast<size_t>(i) * size_bytes(tensor.dtype()), row * width + i);
    }
  }
}

void write(DType dtype, void* to, double value) {
  switch (dtype) {
    case DType::kFloat64:
      *static_cast<double*>(to) = value;
      break;
    case DType::kFloat32:
      *static_cast<float*>(to) = static_cast<float>(value);
      break;
    case DType::kBFloat16:
      *static_cast<bfloat16*>(to) = bfloat16(static_cast<float>(value));
      break;
    case DType::kInt32:
      *static_cast<int32_t*>(to) = static_cast<int32_t>(value);
      break;
    default:
      raise(ErrorKind::kInternal, "no test operand is {}", name(dtype));
  }
}

double read(DType dtype, const void* from) {
  switch (dtype) {
    case DType::kFloat64:
      return *static_cast<const double*>(from);
    case DType::kFloat32:
      return *static_cast<const float*>(from);
    case DType::kBFloat16:
      return static_cast<float>(*static_cast<const bfloat16*>(from));
    case DType::kInt32:
      return *static_cast<const int32_t*>(from);
    default:
      raise(ErrorKind::kInternal, "no test operand is {}", name(dtype));
  }
}

double draw(const Operand& operand, const RandomStream& random, uint64_t i, DType precision) {
  if (operand.kind == Kind::kTargets && random.below(2 * i, 5) == 0) return -1;
  if (operand.kind == Kind::kTokens || operand.kind == Kind::kTargets) {
    return static_cast<double>(random.below(2 * i + 1, static_cast<uint64_t>(operand.bound)));
  }
  if (operand.fill == Fill::kNan) return std::numeric_limits<double>::quiet_NaN();
  const double value = random.normal(i);
  return round_to(operand.kind == Kind::kCompute ? precision : accumulator(precision),
                  operand.fill == Fill::kPositive ? std::abs(value) + 0.01 : value);
}

DType dtype_for(const Context& context, Kind kind) {
  if (kind == Kind::kCompute) return context.compute_dtype();
  return kind == Kind::kAccumulator ? context.accumulator_dtype() : DType::kInt32;
}

// A tensor and the memory that it is part of.
struct Part {
  Tensor whole, part;
};

// What the operand is of the memory that make_operand makes for it.
Tensor part_of(const Tensor& whole, const Operand& operand, int64_t offset) {
  const int last = operand.shape.rank() - 1;
  if (operand.padding > 0) return whole.slice(last, 0, operand.shape[last]);
  return whole.slice(0, offset, offset + operand.shape.num_elements()).reshape(operand.shape);
}

Part make_operand(const Context& context, const Operand& operand, const RandomStream& random, DType precision, int64_t offset) {
  Shape padded = operand.shape;
  padded[padded.rank() - 1] += operand.padding;
  const Shape shape = operand.padding > 0 ? padded : Shape{offset + operand.shape.num_elements()};
  const DType dtype = dtype_for(context, operand.kind);
  const Tensor drawn = context.host().zeros(shape, dtype);
  for_each_element(part_of(drawn, operand, offset), [&](void* element, int64_t i) {
    write(dtype, element, draw(operand, random, static_cast<uint64_t>(i), precision));
  });
  const Tensor there = context.to_device(drawn);
  return {there, part_of(there, operand, offset)};
}

void add_row_cases(std::vector<KernelCase>& cases, int64_t rows, int64_t n) {
  const Operand x{{rows, n}}, weight{{n}}, y{{rows, n}, Kind::kCompute, Fill::kNan};
  const Operand inverse{{rows}, Kind::kAccumulator, Fill::kPositive}, sum{{n}, Kind::kAccumulator};
  // without elements nothing is assigned, not even this
  const Operand new_inverse{{rows}, Kind::kAccumulator, n == 0 ? Fill::kPositive : Fill::kNan};
  cases.push_back(
      {"normalization", "rms_norm_forward", {x, weight, y, new_inverse}, [](const Context& c, Operands t) {
         c.kernels<Normalization>().rms_norm_forward(c, 1e-5, t[0], t[1], t[2], t[3]);
       }});
  cases.push_back({"normalization",
                   "rms_norm_backward_input",
                   {x, x, weight, inverse, y},
                   [](const Context& c, Operands t) {
                     c.kernels<Normalization>().rms_norm_backward_input(c, t[0], t[1], t[2], t[3], t[4]);
                   }});
  cases.push_back({"normalization",
                   "rms_norm_residual_forward",
                   {x, x, weight, y, y, new_inverse},
                   [](const Context& c, Operands t) {
                     c.kernels<Normalization>().rms_norm_residual_forward(c, 1e-5, t[0], t[1], t[2], t[3], t[4], t[5]);
                   }});
  for (const size_t in_place : {0, 1}) {
    cases.push_back({"normalization",
                     "rms_norm_residual_forward in place",
                     {x, x, weight, y, new_inverse},
                     [in_place](const Context& c, Operands t) {
                       c.kernels<Normalization>().rms_norm_residual_forward(c, 1e-5, t[0], t[1], t[2], t[in_place], t[3],
                                                                            t[4]);
                     }});
  }
  cases.push_back({"normalization",
                   "rms_norm_residual_backward_input",
                   {x, x, weight, inverse, x, y},
                   [](const Context& c, Operands t) {
                     c.kernels<Normalization>().rms_norm_residual_backward_input(c, t[0], t[1], t[2], t[3], t[4], t[5]);
                   }});
  cases.push_back(
      {"normalization", "rms_norm_backward_weight", {x, x, inverse, sum}, [](const Context& c, Operands t) {
         c.kernels<Normalization>().rms_norm_backward_weight(c, t[0], t[1], t[2], t[3]);
       }});
  cases.push_back({"activation", "swiglu_forward", {x, x, y}, [](const Context& c, Operands t) {
                     c.kernels<Activation>().swiglu_forward(c, t[0], t[1], t[2]);
                   }});
  cases.push_back({"activation", "swiglu_backward", {x, x, x, y, y}, [](const Context& c, Operands t) {
                     c.kernels<Activation>().swiglu_backward(c, t[0], t[1], t[2], t[3], t[4]);
                   }});
}

void add_elementwise_cases(std::vector<KernelCase>& cases, int64_t rows, int64_t n) {
  const Operand x{{rows, n}}, wide{{rows, n}, Kind::kAccumulator};
  cases.push_back({"elementwise",
                   "add",
                   {x, x, {{rows, n}, Kind::kCompute, Fill::kNan}},
                   [](const Context& c, Operands t) { c.kernels<Elementwise>().add(c, t[0], t[1], t[2]); }});
  cases.push_back({"elementwise", "add in place", {x, x}, [](const Context& c, Operands t) {
                     c.kernels<Elementwise>().add(c, t[0], t[1], t[1]);
                   }});
  cases.push_back({"elementwise", "accumulate", {x, wide}, [](const Context& c, Operands t) {
                     c.kernels<Elementwise>().accumulate(c, t[0], t[1]);
                   }});
  cases.push_back(
      {"elementwise", "accumulate the accumulator", {wide, wide}, [](const Context& c, Operands t) {
         c.kernels<Elementwise>().accumulate(c, t[0], t[1]);
       }});
  cases.push_back({"elementwise",
                   "convert to the accumulator",
                   {x, {{rows, n}, Kind::kAccumulator, Fill::kNan}},
                   [](const Context& c, Operands t) { c.kernels<Elementwise>().convert(c, t[0], t[1]); }});
  cases.push_back({"elementwise",
                   "convert from the accumulator",
                   {wide, {{rows, n}, Kind::kCompute, Fill::kNan}},
                   [](const Context& c, Operands t) { c.kernels<Elementwise>().convert(c, t[0], t[1]); }});
  cases.push_back({"elementwise", "add_bias", {{{n}}, x}, [](const Context& c, Operands t) {
                     c.kernels<Elementwise>().add_bias(c, t[0], t[1]);
                   }});
  cases.push_back(
      {"elementwise", "accumulate_rows", {x, {{n}, Kind::kAccumulator}}, [](const Context& c, Operands t) {
         c.kernels<Elementwise>().accumulate_rows(c, t[0], t[1]);
       }});
}

// Parts of three slices: of `logits`, of three logits of -inf, and of none.
void combine_with_empty_slices(const Context& c, const Tensor& logits, const Tensor& targets, const Tensor& losses,
                               const Tensor& totals) {
  const auto& kernel = c.kernels<Loss>();
  const int64_t rows = logits.size(0), n = logits.size(1), size = n + 3;
  const Tensor nothing = c.empty({rows, 3}, logits.dtype());
  c.write_from_host(nothing, [](const Tensor& t) {
    for (int64_t i = 0; i < t.num_elements(); ++i) {
      if (t.dtype() == DType::kFloat64) t.data<double>()[i] = -INFINITY;
      else t.data<float>()[i] = -INFINITY;
    }
  });
  const Tensor parts = c.empty({3, 3, rows}, logits.dtype());
  kernel.partial_cross_entropy(c, {.first = 0, .size = size}, logits, targets, parts.select(0, 1));
  kernel.partial_cross_entropy(c, {.first = n, .size = size}, nothing, targets, parts.select(0, 0));
  kernel.partial_cross_entropy(c, {.first = size, .size = size}, c.empty({rows, 0}, logits.dtype()), targets, parts.select(0, 2));
  kernel.combine_cross_entropy(c, {.first = 0, .size = size}, parts, targets, losses, totals);
}

// Of logits that are entries 3 to n + 2 of a vocabulary of n + 5.
void add_shared_loss_cases(std::vector<KernelCase>& cases, int64_t rows, int64_t n) {
  const VocabularySlice slice = {.first = 3, .size = n + 5};
  const Operand targets{{rows}, Kind::kTargets, Fill::kNormal, slice.size};
  const Operand logits{{rows, n}, Kind::kAccumulator}, totals{{2, rows}, Kind::kAccumulator, Fill::kPositive};
  cases.push_back({"loss",
                   "partial_cross_entropy",
                   {logits, targets, {{3, rows}, Kind::kAccumulator, Fill::kNan}},
                   [slice](const Context& c, Operands t) {
                     c.kernels<Loss>().partial_cross_entropy(c, slice, t[0], t[1], t[2]);
                   }});
  for (const int64_t ranks : {1, 3}) {
    cases.push_back({"loss",
                     fmt::format("combine_cross_entropy of {}", ranks),
                     {{{ranks, 3, rows}, Kind::kAccumulator, Fill::kPositive},
                      targets,
                      {{rows}, Kind::kAccumulator, Fill::kNan},
                      {{2, rows}, Kind::kAccumulator, Fill::kNan}},
                     [slice](const Context& c, Operands t) {
                       c.kernels<Loss>().combine_cross_entropy(c, slice, t[0], t[1], t[2], t[3]);
                     }});
  }
  if (n > 0) {
    cases.push_back({"loss",
                     "combine_cross_entropy with empty slices",
                     {logits,
                      {{rows}, Kind::kTargets, Fill::kNormal, n},
                      {{rows}, Kind::kAccumulator, Fill::kNan},
                      {{2, rows}, Kind::kAccumulator, Fill::kNan}},
                     [](const Context& c, Operands t) { combine_with_empty_slices(c, t[0], t[1], t[2], t[3]); }});
  }
  cases.push_back({"loss",
                   "cross_entropy_gradient",
                   {logits, targets, totals, {{rows, n}, Kind::kCompute, Fill::kNan}},
                   [slice](const Context& c, Operands t) {
                     c.kernels<Loss>().cross_entropy_gradient(c, slice, t[0], t[1], 0.25, t[2], t[3]);
                   }});
  cases.push_back({"loss",
                   "cross_entropy_gradient in place",
                   {logits, targets, totals},
                   [slice](const Context& c, Operands t) {
                     c.kernels<Loss>().cross_entropy_gradient(c, slice, t[0], t[1], 3.0, t[2], t[0]);
                   }});
  cases.push_back({"loss",
                   "cross_entropy_gradient over logits",
                   {logits, targets, totals, {{rows, n}, Kind::kCompute, Fill::kNan}},
                   [slice](const Context& c, Operands t) {
                     const auto& loss = c.kernels<Loss>();
                     const Tensor own = c.empty(t[0].shape(), t[0].dtype());
                     c.copy(t[0], own);
                     const Tensor dlogits = loss.gradient_over(c, own, c.compute_dtype());
                     loss.cross_entropy_gradient(c, slice, own, t[1], 0.25, t[2], dlogits);
                     for (int64_t row = 0; row < dlogits.size(0); ++row) c.copy(dlogits.select(0, row), t[3].select(0, row));
                   }});
}

void add_token_cases(std::vector<KernelCase>& cases, int64_t rows, int64_t n) {
  constexpr int64_t kVocabulary = 7;
  const Operand tokens{{rows}, Kind::kTokens, Fill::kNormal, kVocabulary};
  const Operand targets{{rows}, Kind::kTargets, Fill::kNormal, std::max<int64_t>(n, 1)};
  const Operand logits{{rows, n}, Kind::kAccumulator}, losses{{rows}, Kind::kAccumulator, Fill::kNan};
  cases.push_back({"embedding",
                   "gather",
                   {tokens, {{kVocabulary, n}}, {{rows, n}, Kind::kCompute, Fill::kNan}},
                   [](const Context& c, Operands t) { c.kernels<Embedding>().gather(c, t[0], t[1], t[2]); }});
  cases.push_back(
      {"embedding",
       "scatter_add",
       {tokens, {{rows, n}}, {{kVocabulary, n}, Kind::kAccumulator}},
       [](const Context& c, Operands t) { c.kernels<Embedding>().scatter_add(c, t[0], t[1], t[2]); }});
  // A table of entries 2 to 4 of the seven.
  cases.push_back({"embedding",
                   "gather_slice",
                   {tokens, {{3, n}}, {{rows, n}, Kind::kCompute, Fill::kNan}},
                   [](const Context& c, Operands t) {
                     c.kernels<Embedding>().gather_slice(c, {.first = 2, .size = kVocabulary}, t[0], t[1], t[2]);
                   }});
  cases.push_back({"embedding",
                   "scatter_add_slice",
                   {tokens, {{rows, n}}, {{3, n}, Kind::kAccumulator}},
                   [](const Context& c, Operands t) {
                     c.kernels<Embedding>().scatter_add_slice(c, {.first = 2, .size = kVocabulary}, t[0], t[1], t[2]);
                   }});
  if (n == 0) return;
  add_shared_loss_cases(cases, rows, n);
  cases.push_back({"loss", "cross_entropy", {logits, targets, losses}, [](const Context& c, Operands t) {
                     c.kernels<Loss>().cross_entropy(c, t[0], t[1], t[2]);
                   }});
  cases.push_back({"loss",
                   "cross_entropy_with_gradient",
                   {logits, targets, losses, {{rows, n}, Kind::kCompute, Fill::kNan}},
                   [](const Context& c, Operands t) {
                     c.kernels<Loss>().cross_entropy_with_gradient(c, t[0], t[1], 0.25, t[2], t[3]);
                   }});
  cases.push_back({"loss",
                   "cross_entropy_with_gradient in place",
                   {logits, targets, losses},
                   [](const Context& c, Operands t) {
                     c.kernels<Loss>().cross_entropy_with_gradient(c, t[0], t[1], 3.0, t[2], t[0]);
                   }});
  cases.push_back({"loss",
                   "cross_entropy_with_gradient over logits",
                   {logits, targets, losses, {{rows, n}, Kind::kCompute, Fill::kNan}},
                   [](const Context& c, Operands t) {
                     const auto& loss = c.kernels<Loss>();
                     const Tensor own = c.empty(t[0].shape(), t[0].dtype());
                     c.copy(t[0], own);
                     const Tensor dlogits = loss.gradient_over(c, own, c.compute_dtype());
                     loss.cross_entropy_with_gradient(c, own, t[1], 0.25, t[2], dlogits);
                     for (int64_t row = 0; row < dlogits.size(0); ++row) c.copy(dlogits.select(0, row), t[3].select(0, row));
                   }});
}

void add_rotary_and_optimizer_cases(std::vector<KernelCase>& cases, int64_t rows, int64_t n) {
  const Operand angles{{rows, n / 2}, Kind::kAccumulator};
  for (const auto direction : {RotaryDirection::kForward, RotaryDirection::kInverse}) {
    for (const int64_t padding : {0, 3}) {
      cases.push_back({"rotary",
                       direction == RotaryDirection::kForward ? "rotate" : "rotate back",
                       {angles, angles, {{rows, 3, n / 2 * 2}, Kind::kCompute, Fill::kNormal, 0, padding}},
                       [direction](const Context& c, Operands t) {
                         c.kernels<Rotary>().rotate(c, direction, t[0], t[1], t[2]);
                       }});
    }
  }
  const Operand wide{{rows, n}, Kind::kAccumulator}, positive{{rows, n}, Kind::kAccumulator, Fill::kPositive};
  const AdamWOptions options{.learning_rate = 0.01, .weight_decay = 0.1, .gradient_scale = 0.5, .step = 3};
  cases.push_back({"optimizer",
                   "adamw",
                   {wide, wide, wide, positive, {{rows, n}, Kind::kCompute, Fill::kNan}},
                   [options](const Context& c, Operands t) {
                     c.kernels<OptimizerKernels>().adamw(c, options, t[0], t[1], t[2], t[3], t[4]);
                   }});
  cases.push_back({"optimizer",
                   "adamw without a copy",
                   {wide, wide, wide, positive},
                   [options](const Context& c, Operands t) {
                     c.kernels<OptimizerKernels>().adamw(c, options, t[0], t[1], t[2], t[3], t[1]);
                   }});
  cases.push_back({"optimizer",
                   "sum_of_squares",
                   {{{rows, n}}, {{1}, Kind::kAccumulator, Fill::kNan}},
                   [](const Context& c, Operands t) {
                     const double sum = c.kernels<OptimizerKernels>().sum_of_squares(c, t[0]);
                     c.write_from_host(t[1], [&](const Tensor& x) { write(x.dtype(), x.raw(), sum); });
                   }});
  cases.push_back({"optimizer",
                   "sum_of_squares of several",
                   {{{rows, n}}, {{2 * rows, n}}, {{0, n}}, {{1}, Kind::kAccumulator, Fill::kNan}},
                   [](const Context& c, Operands t) {
                     const std::vector<Tensor> xs = {t[0], t[2], t[1], t[0]};
                     const double sum = c.kernels<OptimizerKernels>().sum_of_squares(c, xs);
                     c.write_from_host(t[3], [&](const Tensor& x) { write(x.dtype(), x.raw(), sum); });
                   }});
}

}  // namespace

std::vector<KernelCase> kernel_cases(int64_t rows, int64_t n) {
  std::vector<KernelCase> cases;
  add_row_cases(cases, rows, n);
  add_elementwise_cases(cases, rows, n);
  add_token_cases(cases, rows, n);
  add_rotary_and_optimizer_cases(cases, rows, n);
  return cases;
}

std::vector<KernelCase> gemm_cases(int64_t m, int64_t n, int64_t k) {
  std::vector<KernelCase> cases;
  for (const auto ta : {Transpose::kNo, Transpose::kYes}) {
    for (const auto tb : {Transpose::kNo, Transpose::kYes}) {
      for (const auto w : {Write::kAssign, Write::kAccumulate}) {
        for (const auto output : {Kind::kCompute, Kind::kAccumulator}) {
          for (const auto& [padding, packed] : {std::pair<int64_t, bool>{0, false}, {5, false}, {0, true}, {5, true}}) {
            const Shape a = ta == Transpose::kYes ? Shape{k, m} : Shape{m, k};
            const Shape b = tb == Transpose::kYes ? Shape{n, k} : Shape{k, n};
            const Fill fill = w == Write::kAssign ? Fill::kNan : Fill::kNormal;
            cases.push_back({"linear algebra",
                             "gemm",
                             {{a, Kind::kCompute, Fill::kNormal, 0, padding},
                              {b, Kind::kCompute, Fill::kNormal, 0, 2 * padding},
                              {{m, n}, output, fill, 0, padding}},
                             [options = GemmOptions{ta, tb, w}, packs = packed](const Context& c, Operands t) {
                               const auto& algebra = c.kernels<LinearAlgebra>();
                               GemmOptions with = options;
                               if (packs) with.packed_b = algebra.pack(c, options.b, t[1]);
                               algebra.gemm(c, with, t[0], t[1], t[2]);
                             }});
          }
        }
      }
    }
  }
  return cases;
}

std::vector<Tensor> run_case(const Context& context, const KernelCase& kernel_case, DType precision, int64_t offset) {
  std::vector<Tensor> wholes, parts, results;
  for (const Operand& operand : kernel_case.operands) {
    const Part made = make_operand(context, operand, RandomStream(parts.size() + 1, "operand"), precision, offset);
    wholes.push_back(made.whole);
    parts.push_back(made.part);
  }
  kernel_case.run(context, parts);
  for (size_t i = 0; i < wholes.size(); ++i) {
    results.push_back(part_of(context.to_host(wholes[i]), kernel_case.operands[i], offset));
  }
  return results;
}

Context make_reference_context() {
  auto kernels = std::make_shared<KernelSet>("reference");
  add_reference_kernels(*kernels);
  Context::Options options;
  options.compute_dtype = DType::kFloat64;
  options.kernels = kernels;
  return Context(options);
}

Context make_cpu_context(DType dtype, CpuLevel level, int num_threads) {
  return make_cpu_context(dtype, level, num_threads, last_level_cache_bytes());
}

Context make_cpu_context(DType dtype, CpuLevel level, int num_threads, size_t cache_bytes) {
  auto kernels = std::make_shared<KernelSet>("cpu");
  add_cpu_kernels(*kernels, level, cache_bytes);
  Context::Options options;
  options.compute_dtype = dtype;
  options.num_threads = num_threads;
  options.kernels = kernels;
  return Context(options);
}

std::string parameter_name(const testing::TestParamInfo<DTypeAndLevel>& info) {
  const auto [dtype, level] = info.param;
  return fmt::format("{}_{}", name(dtype), name(level));
}

std::vector<double> values(const Tensor& tensor) {
  std::vector<double> all(static_cast<size_t>(tensor.num_elements()));
  for_each_element(tensor, [&](const void* element, int64_t i) {
    all[static_cast<size_t>(i)] = read(tensor.dtype(), element);
  });
  return all;
}

std::string bytes(const Tensor& tensor) {
  std::string all;
  for_each_element(tensor, [&](const void* element, int64_t) {
    all.append(static_cast<const char*>(element), size_bytes(tensor.dtype()));
  });
  return all;
}

std::string difference(const Tensor& got, const Tensor& want, double tolerance) {
  const std::vector<double> g = values(got), w = values(want);
  if (g.size() != w.size()) return fmt::format("{} elements, not {}", g.size(), w.size());
  double squares = 0;
  for (const double value : w) squares += value * value;
  const double rms = w.empty() ? 0 : std::sqrt(squares / static_cast<double>(w.size()));
  for (size_t i = 0; i < g.size(); ++i) {
    const double allowed = tolerance * std::abs(w[i]) + 2e-6 * rms;
    if (!(std::abs(g[i] - w[i]) <= allowed)) return fmt::format("element {} is {}, not {}", i, g[i], w[i]);
  }
  return {};
}

void expect_close(const Tensor& got, const Tensor& want, double tolerance, const std::string& what) {
  EXPECT_EQ(difference(got, want, tolerance), "") << what;
}

double tolerance(DType dtype) {
  return dtype == DType::kBFloat16 ? 0x1p-8 + 4e-6 : 1e-6;
}

void expect_progress_in_products(DType dtype, CpuLevel level, int num_threads) {
  const Context plain = make_cpu_context(dtype, level, num_threads);
  Context hooked = make_cpu_context(dtype, level, num_threads);
  int calls = 0;
  const Context::ProgressGuard hook(hooked, [&] { ++calls; });
  const auto filled = [&](const Shape& shape, DType of) {
    const Tensor t = plain.empty(shape, of);
    for (int64_t i = 0; i < t.num_elements(); ++i) {
      const float x = static_cast<float>(i * 7919 % 1009) / 1009 - 0.5f;
      if (of == DType::kFloat32) t.data<float>()[i] = x;
      else t.data<bfloat16>()[i] = bfloat16(x);
    }
    return t;
  };
  for (const auto& [m, n, k] : {std::tuple<int64_t, int64_t, int64_t>{2100, 48, 33}, {2500, 16, 700}, {48, 2500, 129}}) {
    for (const Transpose ta : {Transpose::kNo, Transpose::kYes}) {
      for (const bool packs : {false, true}) {
        const Tensor a = filled(ta == Transpose::kYes ? Shape{k, m} : Shape{m, k}, dtype), b = filled({n, k}, dtype);
        const auto& algebra = plain.kernels<LinearAlgebra>();
        GemmOptions options = {.a = ta, .b = Transpose::kYes, .write = Write::kAccumulate};
        if (packs) options.packed_b = algebra.pack(plain, Transpose::kYes, b);
        const Tensor want = filled({m, n}, accumulator(dtype)), got = filled({m, n}, accumulator(dtype));
        algebra.gemm(plain, options, a, b, want);
        calls = 0;
        hooked.kernels<LinearAlgebra>().gemm(hooked, options, a, b, got);
        ASSERT_TRUE(bytes(got) == bytes(want)) << m << " x " << n << " x " << k;
        EXPECT_GE(calls, m > n && ta == Transpose::kNo ? 2 : 1) << m << " x " << n << " x " << k;
      }
    }
  }
}

}  // namespace longspan::test
