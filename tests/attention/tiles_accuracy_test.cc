// How far attention in bfloat16 on tiles is from the exact result, beside what rounding the inputs to bfloat16 costs alone: an
// exact softmax over rounded inputs. Errors are norms over all heads, of each result.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "tests/attention/attention_cases.h"
#include "tests/support/reference_context.h"
#include "tests/support/tensors.h"

namespace longspan {
namespace {

using test::ContextMaker;
using test::Problem;
using test::Result;

constexpr double kMostOfRounding = 1.5;
// Where results are exact in bfloat16 or cancel wholly (one key: no gradient of q), what float sums leave.
constexpr double kOfFloats = 1e-5;

test::Inputs rounded(const Context& context, const test::Inputs& inputs) {
  const auto converted = [&](const Tensor& x) {
    Tensor y = context.empty(x.shape(), DType::kBFloat16);
    for (int64_t i = 0; i < x.num_elements(); ++i) {
      y.data<bfloat16>()[i] = bfloat16(static_cast<float>(x.data<double>()[i]));
    }
    return y;
  };
  return {converted(inputs.q), converted(inputs.k), converted(inputs.v), converted(inputs.dy)};
}

double distance(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(sum);
}

class TileAccuracyTest : public testing::TestWithParam<ContextMaker> {
 protected:
  void expect_accurate(const test::Inputs& exact_inputs, const std::vector<IndexInterval>& intervals,
                       const std::vector<int64_t>& cuts) const {
    const Context reference = test::make_context(DType::kFloat64), context = GetParam().make(DType::kBFloat16, 1);
    const test::Inputs inputs = rounded(context, exact_inputs);
    const std::vector<int64_t> whole = {0, cuts.back()};
    const Result exact = attend(reference, exact_inputs, intervals, whole);
    const Result best = attend(reference, test::as_double(reference, inputs), intervals, whole);
    const Result got = attend(context, inputs, intervals, cuts);
    const auto expect_part = [&](std::vector<double> Result::*part, const char* what) {
      const double floor = kOfFloats * std::sqrt(static_cast<double>((exact.*part).size()));
      const double of_kernel = distance(got.*part, exact.*part), of_rounding = distance(best.*part, exact.*part);
      EXPECT_LE(of_kernel, kMostOfRounding * of_rounding + floor) << what << ": rounding alone costs " << of_rounding;
    };
    expect_part(&Result::output, "O");
    expect_part(&Result::dq, "dq");
    expect_part(&Result::dk, "dk");
    expect_part(&Result::dv, "dv");
    // 2^x to 7.5e-5, and sums of it.
    EXPECT_LT(test::largest_lse_error(got.lse, best.lse), 2e-4);
  }
};

TEST_P(TileAccuracyTest, OfEveryKindOfLength) {
  const Context reference = test::make_context(DType::kFloat64);
  uint64_t seed = 0;
  for (const int64_t head_dim : {64, 128}) {
    for (const int64_t n : {1, 2, 3, 5, 7, 13, 16, 17, 31, 32, 33, 61, 64, 65, 97, 127, 128, 129, 131, 191, 251, 256, 257}) {
      const Problem p = {n, n, n < 64 ? 12 : 2, n < 64 ? 6 : 1, head_dim};
      SCOPED_TRACE(test::describe(p));
      ++seed;
      expect_accurate(test::make_inputs(reference, p, DType::kFloat64, seed), test::visible(p, seed), {0, n / 3, n});
    }
  }
}

TEST_P(TileAccuracyTest, OfEveryKindOfVisibility) {
  const Context reference = test::make_context(DType::kFloat64);
  uint64_t seed = 100;
  for (const auto kind : {Problem::Kind::kCausal, Problem::Kind::kFull, Problem::Kind::kDocuments, Problem::Kind::kWindow,
                          Problem::Kind::kScattered}) {
    for (const double logits : {0.01, 1.0, 100.0}) {
      for (const int64_t head_dim : {64, 128}) {
        const Problem p = {97, 261, 4, 2, head_dim, kind, logits};
        SCOPED_TRACE(test::describe(p));
        ++seed;
        expect_accurate(test::make_inputs(reference, p, DType::kFloat64, seed), test::visible(p, seed), {0, 160, 261});
      }
    }
  }
}

TEST_P(TileAccuracyTest, OfOtherHeadSizes) {
  const Context reference = test::make_context(DType::kFloat64);
  uint64_t seed = 200;
  for (const int64_t head_dim : {1, 8, 24, 40, 72, 80, 96, 112, 160, 256, 300}) {
    const Problem p = {101, 163, 4, 2, head_dim};
    SCOPED_TRACE(test::describe(p));
    ++seed;
    expect_accurate(test::make_inputs(reference, p, DType::kFloat64, seed), test::visible(p, seed), {0, 50, 163});
  }
}

// The first dim carries a logit for each key; numbers are not round, so that rounding them costs what it does elsewhere.
TEST_P(TileAccuracyTest, OfLogitsThatGrowFallOrStandOut) {
  const Context reference = test::make_context(DType::kFloat64);
  const std::function<double(int64_t)> shapes[] = {
      [](int64_t j) { return 0.5 * static_cast<double>(j); },        // each key above all before it
      [](int64_t j) { return -0.5 * static_cast<double>(j); },       // the first decides
      [](int64_t j) { return j % 131 == 130 ? 500.0 : 0.0; },        // one decides
      [](int64_t j) { return j % 61 == 60 ? 10.0 : 0.0; },           // some stand out
      [](int64_t j) { return 13.8 * static_cast<double>(j / 32); },  // by just less than the lag of the reference, each unit
      [](int64_t j) { return 14.0 * static_cast<double>(j / 32); },  // by just more
      [](int64_t j) { return j < 150 ? -300.0 : 300.0; }};
  uint64_t seed = 300;
  for (const int64_t head_dim : {64, 128}) {
    for (const auto& logit : shapes) {
      SCOPED_TRACE(++seed);
      const Problem p = {150, 280, 2, 1, head_dim};
      const test::Inputs t = test::make_inputs(reference, p, DType::kFloat64, seed);
      const double root = std::sqrt(static_cast<double>(head_dim));
      const auto q = t.q.view<double, 3>(), k = t.k.view<double, 3>();
      for (int64_t i = 0; i < p.num_queries; ++i) {
        for (int64_t h = 0; h < 2; ++h) q(i, h, 0) = root * (1 + 0.02 * q(i, h, 0));
      }
      for (int64_t j = 0; j < p.num_keys; ++j) k(j, 0, 0) = logit(j) * (1 + 0.002 * k(j, 0, 0));
      for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{0, 280}, {0, 100, 200, 280}}) {
        expect_accurate(t, test::visible(p, seed), cuts);
      }
    }
  }
}

std::vector<ContextMaker> tile_makers() {
  std::vector<ContextMaker> makers = test::context_makers();
  std::erase_if(makers, [](const ContextMaker& m) { return !m.in_tiles; });
  return makers;
}
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(TileAccuracyTest);  // a machine without AVX-512 emulates no tiles
INSTANTIATE_TEST_SUITE_P(Tiles, TileAccuracyTest, testing::ValuesIn(tile_makers()),
                         [](const auto& i) { return i.param.name; });

}  // namespace
}  // namespace longspan
