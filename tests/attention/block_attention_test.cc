// The vectorised block attention, at every level this machine runs and on emulated tiles, against the double-precision
// reference; and the reference against central differences.
#include "attention/kernels/block_attention.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/attention/attention_cases.h"
#include "tests/support/reference_context.h"
#include "tests/support/tensors.h"

namespace longspan {
namespace {

using test::attend;
using test::ContextMaker;
using test::expect_near;
using test::Problem;
using test::values;

std::vector<Problem> problems() {
  using Kind = Problem::Kind;
  std::vector<Problem> all = {
      {1, 1, 1, 1, 1},     {2, 3, 2, 1, 3},      {31, 31, 4, 2, 16},   {33, 65, 2, 2, 64}, {97, 97, 4, 1, 80},
      {130, 257, 2, 1, 8}, {200, 200, 2, 2, 128}, {40, 20, 2, 1, 16},  {64, 640, 1, 1, 32},
  };
  for (const Kind kind : {Kind::kFull, Kind::kDocuments, Kind::kWindow, Kind::kScattered}) {
    all.push_back({101, 163, 4, 2, 24, kind});
    all.push_back({67, 600, 2, 1, 64, kind});
  }
  for (const double scale : {20.0, 0.01}) all.push_back({70, 190, 2, 1, 32, Kind::kCausal, scale});
  return all;
}

class CpuAttentionTest : public testing::TestWithParam<ContextMaker> {};

TEST_P(CpuAttentionTest, MatchesTheReferenceInOneAndInManyPieces) {
  const Context reference = test::make_context(DType::kFloat64);
  uint64_t seed = 0;
  for (const Problem& p : problems()) {
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      SCOPED_TRACE(test::describe(p) + " " + std::string(name(dtype)));
      const Context context = GetParam().make(dtype, 1);
      const test::Inputs t = test::make_inputs(context, p, dtype, ++seed);
      const auto intervals = test::visible(p, seed);
      const test::Result want = attend(reference, test::as_double(reference, t), intervals, {0, p.num_keys});
      const int64_t third = p.num_keys / 3;
      const std::vector<int64_t> whole = {0, p.num_keys}, pieces = {0, third, third, p.num_keys - 1, p.num_keys};
      for (const auto& cuts : {whole, pieces}) {
        const test::Result got = attend(context, t, intervals, cuts);
        expect_near(got, want, 3e-6 * std::max(1.0, p.logit_scale), GetParam().rounding(dtype));
      }
    }
  }
}

TEST_P(CpuAttentionTest, RowsThatSeeNothingStayEmpty) {
  const Context context = GetParam().make(DType::kFloat32, 1);
  const Problem p = {40, 20, 2, 1, 16};
  const test::Result r = attend(context, test::make_inputs(context, p, DType::kFloat32, 1), test::visible(p, 1), {0, 20});
  for (size_t i = 0; i < 20; ++i) EXPECT_EQ(r.lse[i], -std::numeric_limits<double>::infinity());
  for (size_t i = 0; i < 20 * 2 * 16; ++i) {
    EXPECT_EQ(r.output[i], 0);
    EXPECT_EQ(r.dq[i], test::kBegunGradient) << "nothing is added";
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, CpuAttentionTest, testing::ValuesIn(test::context_makers()),
                         [](const auto& i) { return i.param.name; });

TEST(ReferenceAttention, GradientMatchesCentralDifferences) {
  const Context context = test::make_context(DType::kFloat64);
  const Problem p = {9, 13, 4, 2, 3, Problem::Kind::kScattered};
  const test::Inputs t = test::make_inputs(context, p, DType::kFloat64, 3);
  const auto intervals = test::visible(p, 3);
  const test::Result r = attend(context, t, intervals, {0, 13});
  const auto check_gradient = [&](const Tensor& input, const std::vector<double>& gradient, const char* what) {
    const auto direction = values(test::random_tensor(context, input.shape(), DType::kFloat64, 4, what));
    double expected = 0;
    for (size_t i = 0; i < direction.size(); ++i) expected += (gradient[i] - test::kBegunGradient) * direction[i];
    const auto moved = [&](double step) {
      for (size_t i = 0; i < direction.size(); ++i) input.data<double>()[i] += step * direction[i];
      const double y = test::dot(attend(context, t, intervals, {0, 13}).output, values(t.dy));
      for (size_t i = 0; i < direction.size(); ++i) input.data<double>()[i] -= step * direction[i];
      return y;
    };
    EXPECT_NEAR((moved(1e-6) - moved(-1e-6)) / 2e-6, expected, 1e-7) << what;
  };
  check_gradient(t.q, r.dq, "q");
  check_gradient(t.k, r.dk, "k");
  check_gradient(t.v, r.dv, "v");
}

}  // namespace
}  // namespace longspan
