#include "tests/attention/accuracy.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iostream>

#include "tests/support/reference_context.h"
#include "tests/support/tensors.h"

namespace longspan::test {

namespace {

// Numbers of any size rounded to bfloat16, whose 8 bits end at 2^-8 of them at most, are off by so much of themselves in the
// root mean square.
constexpr double kRoundingOfBFloat16 = 0.425 * 0x1p-8;
// Where a log-sum-exp is above this, p may be off by this many of the roundings that are in its score: of the scaled query, of
// products and sums, and of LSE, in forward and, with another order of sums, in backward.
constexpr double kLargeScore = 30, kRoundingsOfScores = 4;

ExactProblem problem_of(const Problem& p, const Inputs& t, const std::vector<IndexInterval>& intervals) {
  ExactProblem x = {.num_queries = p.num_queries, .num_keys = p.num_keys, .num_heads = p.num_heads,
                    .num_kv_heads = p.num_kv_heads, .head_dim = p.head_dim,
                    .scale = 1 / std::sqrt(static_cast<double>(p.head_dim)),
                    .q = values(t.q), .k = values(t.k), .v = values(t.v), .dy = values(t.dy), .seen = {}};
  for (const IndexInterval& i : intervals) {
    x.seen.emplace_back(std::clamp<int64_t>(i.begin, 0, p.num_keys), std::clamp<int64_t>(i.end, 0, p.num_keys));
  }
  return x;
}

Inputs rounded(const Context& context, const Inputs& inputs) {
  const auto round = [&](const Tensor& x) {
    const Tensor y = context.empty(x.shape(), DType::kBFloat16);
    std::transform(x.data<float>(), x.data<float>() + x.num_elements(), y.data<bfloat16>(),
                   [](float f) { return bfloat16(f); });
    return y;
  };
  return {round(inputs.q), round(inputs.k), round(inputs.v), round(inputs.dy)};
}

// Numbers that have to be the same, as of rows that see nothing, are left out; infinite if they are not.
double root_mean_square(const std::vector<double>& got, const std::vector<double>& want) {
  double sum = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (got[i] == want[i]) continue;
    const double error = got[i] - want[i];
    if (!std::isfinite(error)) return INFINITY;
    sum += error * error;
  }
  return std::sqrt(sum / static_cast<double>(std::max<size_t>(1, got.size())));
}

double root_mean_square(const std::vector<double>& x) {
  double sum = 0;
  for (const double v : x) sum += std::isfinite(v) ? v * v : 0;
  return std::sqrt(sum / static_cast<double>(std::max<size_t>(1, x.size())));
}

double largest_magnitude(const std::vector<double>& x) {
  double largest = 0;
  for (const double v : x) largest = std::max(largest, std::isfinite(v) ? std::abs(v) : 0);
  return largest;
}

struct Figure {
  double value, allowed;
};

Figure bfloat16_figure(double error, double error_of_rounded_inputs, double spread) {
  const double measure = std::max(error_of_rounded_inputs, kRoundingOfBFloat16 * spread);
  return {error == 0 ? 0 : error / measure, 1.5};
}

Figure float_figure(double error, double size, double spread, double float_spread, double largest_score) {
  const double measure = std::max(size, spread);
  if (error == 0) return {0, 0};
  const double of_scores = largest_score > kLargeScore ? kRoundingsOfScores * 0x1p-24 * float_spread / measure : 0;
  return {error / measure, std::max(2e-6, of_scores)};
}

}  // namespace

void AccuracyTable::expect_accurate(const AccuracyCase& one, uint64_t seed) {
  const Problem& p = one.problem;
  const Context plain = make_context(DType::kFloat32);
  const Inputs fine = make_inputs(plain, p, DType::kFloat32, seed);
  if (one.shape) one.shape(fine);
  const Inputs coarse = rounded(plain, fine);
  const auto intervals = visible(p, seed);
  const Exact exact = exact_attention(problem_of(p, fine, intervals));
  const double largest_score = largest_magnitude(exact.value.lse);
  const Result of_rounded = exact_attention(problem_of(p, coarse, intervals), Extent::kValue).value;
  const std::vector<int64_t> whole = {0, p.num_keys}, pieces = {0, p.num_keys / 3, p.num_keys - p.num_keys / 4, p.num_keys};
  for (const ContextMaker& maker : context_makers()) {
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      const bool is_float = dtype == DType::kFloat32;
      if (is_float && maker.only_bfloat16) continue;
      const Context context = maker.make(dtype, 1);
      const std::string level = fmt::format("{} {}", maker.name, name(dtype));
      for (const auto& cuts : {whole, pieces}) {
        if (!(cuts.size() > 2 ? one.pieces : one.whole)) continue;
        const Result got = attend(context, is_float ? fine : coarse, intervals, cuts,
                                  {.begun = 0, .output = Backward::Output::kInComputeDtype});
        for_each_part(
            [&](const char* part, const auto& g, const auto& want, const auto& spread, const auto& float_spread,
                const auto& r) {
              const double error = root_mean_square(g, want);
              const Figure figure = is_float ? float_figure(error, root_mean_square(want), root_mean_square(spread),
                                                            root_mean_square(float_spread), largest_score)
                                             : bfloat16_figure(error, root_mean_square(r, want), root_mean_square(spread));
              EXPECT_LE(figure.value, figure.allowed)
                  << level << " " << part << ", " << one.name << ": " << describe(p) << ", in " << cuts.size() - 1 << " pieces";
              Entry& entry = worst_[level][part];
              if (figure.value > entry.figure) entry = {figure.value, one.name};
            },
            got, exact.value, exact.spread, exact.float_spread, of_rounded);
      }
    }
  }
}

void AccuracyTable::print(const std::string& title) const {
  std::cout << title << "\n";
  for (const auto& [level, parts] : worst_) {
    std::cout << fmt::format("  {:22}", level);
    for (const char* part : {"O", "LSE", "dQ", "dK", "dV"}) {
      const Entry& e = parts.at(part);
      std::cout << fmt::format(" {} {:.3g} ({})", part, e.figure, e.where);
    }
    std::cout << "\n";
  }
}

}  // namespace longspan::test
