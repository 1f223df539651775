#include "tests/core/kernel_cases.h"

#include <fmt/core.h>

#include <cmath>

#include "core/kernels/activation.h"
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
                     c.write_from_host(t[1], [&](const Tensor& x) { write_element(x.dtype(), x.raw(), sum); });
                   }});
  cases.push_back({"optimizer",
                   "sum_of_squares of several",
                   {{{rows, n}}, {{2 * rows, n}}, {{0, n}}, {{1}, Kind::kAccumulator, Fill::kNan}},
                   [](const Context& c, Operands t) {
                     const std::vector<Tensor> xs = {t[0], t[2], t[1], t[0]};
                     const double sum = c.kernels<OptimizerKernels>().sum_of_squares(c, xs);
                     c.write_from_host(t[3], [&](const Tensor& x) { write_element(x.dtype(), x.raw(), sum); });
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

}  // namespace longspan::test
