#include "tests/attention/accuracy.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iostream>

#include "tests/support/reference_context.h"
#include "tests/support/tensors.h"

namespace longspan::test {

namespace {

// Numbers of any size rounded to bfloat16, whose 8 bits end at 2^-8 of them at most, are off by so much of themselves in the
// root mean square.
constexpr double kRoundingOfBFloat16 = 0.425 * 0x1p-8;
constexpr double kMostOfBFloat16 = 1.5;
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

// Into memory of the context's own.
Inputs copied(const Context& context, const Inputs& inputs) {
  const auto copy = [&](const Tensor& x) {
    const Tensor y = context.empty(x.shape(), x.dtype());
    std::memcpy(y.raw(), x.raw(), x.num_bytes());
    return y;
  };
  return {copy(inputs.q), copy(inputs.k), copy(inputs.v), copy(inputs.dy)};
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

Figure float_figure(double error, double size, double spread, double float_spread, double largest_score) {
  const double measure = std::max(size, spread);
  if (error == 0) return {0, 0};
  const double of_scores = largest_score > kLargeScore ? kRoundingsOfScores * 0x1p-24 * float_spread / measure : 0;
  return {error / measure, std::max(2e-6, of_scores)};
}

}  // namespace

void AccuracyTable::Entry::enter(double one, const std::string& name) {
  if (!where.empty() && one <= figure) return;
  figure = one;
  where = name;
}

void AccuracyTable::take_bfloat16(const AccuracyCase& one, const std::string& level, const std::string& part,
                                  const Errors& e) {
  Level& table = levels_[level];
  const double of_terms = kRoundingOfBFloat16 * e.spread;
  const bool cancels = one.cancels.contains(part), few = one.few_numbers.contains(part);
  if (cancels) {
    EXPECT_LT(e.of_rounded_inputs, of_terms) << "errors of inputs do not cancel in " << part << " of " << one.name;
  } else if (few) {
    Squares& together = table.together[part];
    together.error += std::pow(e.error / of_terms, 2);
    together.of_rounded_inputs += std::pow(e.of_rounded_inputs / of_terms, 2);
  }
  const double measure = cancels || few ? std::max(e.of_rounded_inputs, of_terms) : e.of_rounded_inputs;
  const double figure = e.error == 0 ? 0 : e.error / measure;
  EXPECT_LE(figure, kMostOfBFloat16) << level << " " << part << ", " << one.name << ": " << describe(one.problem);
  if (!few) (cancels ? table.beside_terms : table.worst)[part].enter(figure, one.name);
}

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
      const Inputs inputs = copied(context, is_float ? fine : coarse);
      for (const auto& cuts : {whole, pieces}) {
        if (!(cuts.size() > 2 ? one.pieces : one.whole)) continue;
        const Result got = attend(context, inputs, intervals, cuts,
                                  {.begun = 0, .output = Backward::Output::kInComputeDtype});
        for_each_part(
            [&](const char* part, const auto& g, const auto& want, const auto& spread, const auto& float_spread,
                const auto& r) {
              const double error = root_mean_square(g, want), spread_size = root_mean_square(spread);
              if (!is_float) return take_bfloat16(one, level, part, {error, root_mean_square(r, want), spread_size});
              const Figure figure = float_figure(error, root_mean_square(want), spread_size, root_mean_square(float_spread),
                                                 largest_score);
              EXPECT_LE(figure.value, figure.allowed) << level << " " << part << ", " << one.name << ": " << describe(p);
              levels_[level].worst[part].enter(figure.value, one.name);
            },
            got, exact.value, exact.spread, exact.float_spread, of_rounded);
      }
    }
  }
}

void AccuracyTable::conclude(const std::string& title) const {
  std::cout << title << "\n";
  const auto print = [](const std::string& what, const Entries& parts) {
    if (parts.empty()) return;
    std::cout << fmt::format("  {:40}", what);
    for (const char* part : {"O", "LSE", "dQ", "dK", "dV"}) {
      const auto e = parts.find(part);
      if (e != parts.end()) std::cout << fmt::format(" {} {:.3g} ({})", part, e->second.figure, e->second.where);
    }
    std::cout << "\n";
  };
  for (const auto& [level, table] : levels_) {
    Entries together;
    for (const auto& [part, squares] : table.together) {
      const double figure = squares.error == 0 ? 0 : std::sqrt(squares.error / squares.of_rounded_inputs);
      EXPECT_LE(figure, kMostOfBFloat16) << level << " " << part << ", " << title << " together";
      together[part].enter(figure, "all");
    }
    print(level, table.worst);
    print(level + ", together", together);
    print(level + ", beside terms", table.beside_terms);
  }
}

}  // namespace longspan::test
