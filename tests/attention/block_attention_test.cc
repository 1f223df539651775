// The vectorised block attention, at every level this machine runs, against the double-precision reference; and the
// reference against central differences.
#include "attention/kernels/block_attention.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/support/reference_context.h"
#include "tests/support/tensors.h"

namespace longspan {
namespace {

using test::values;

struct Problem {
  int64_t num_queries, num_keys, num_heads, num_kv_heads, head_dim;
  enum class Kind { kCausal, kFull, kDocuments, kWindow, kScattered } kind = Kind::kCausal;
  double logit_scale = 1;
};

std::string describe(const Problem& p) {
  return fmt::format("{} queries, {} keys, heads {}/{} x {}, kind {}, logits {}", p.num_queries, p.num_keys, p.num_heads,
                     p.num_kv_heads, p.head_dim, static_cast<int>(p.kind), p.logit_scale);
}

// Queries are the last of the keys' sequence, so that the first rows of longer queries see nothing.
std::vector<IndexInterval> visible(const Problem& p, uint64_t seed) {
  const RandomStream random(seed, "visible");
  std::vector<IndexInterval> intervals;
  for (int64_t i = 0; i < p.num_queries; ++i) {
    const int64_t at = p.num_keys - p.num_queries + i;
    switch (p.kind) {
      case Problem::Kind::kCausal:
        intervals.push_back({0, at + 1});
        break;
      case Problem::Kind::kFull:
        intervals.push_back({0, p.num_keys});
        break;
      case Problem::Kind::kDocuments:
        intervals.push_back({at / 37 * 37, at + 1});
        break;
      case Problem::Kind::kWindow:
        intervals.push_back({at - 50, at + 1});
        break;
      case Problem::Kind::kScattered: {
        const auto draw = [&](int64_t n) {
          return static_cast<int64_t>(random.below(static_cast<uint64_t>(2 * i + n), static_cast<uint64_t>(p.num_keys + 1)));
        };
        intervals.push_back({draw(0), draw(1)});  // often empty
        break;
      }
    }
  }
  return intervals;
}

struct Tensors {
  Tensor q, k, v, dy;
};

Tensors make_tensors(const Context& context, const Problem& p, DType dtype, uint64_t seed) {
  const auto make = [&](const char* name, int64_t tokens, int64_t heads, double scale) {
    return test::random_tensor(context, {tokens, heads, p.head_dim}, dtype, seed, name, scale);
  };
  return {make("q", p.num_queries, p.num_heads, p.logit_scale), make("k", p.num_keys, p.num_kv_heads, 1),
          make("v", p.num_keys, p.num_kv_heads, 1), make("dy", p.num_queries, p.num_heads, 1)};
}

Tensor as_double(const Context& context, const Tensor& x) {
  Tensor y = context.empty(x.shape(), DType::kFloat64);
  const auto v = values(x);
  std::copy(v.begin(), v.end(), y.data<double>());
  return y;
}

struct Result {
  std::vector<double> output, lse, dq, dk, dv;
};

// Forward over the keys cut at `cuts`, then backward in the same pieces, into gradients that begin at 1.
Result attend(const Context& context, const Tensors& t, const std::vector<IndexInterval>& intervals,
              const std::vector<int64_t>& cuts) {
  const auto& kernel = context.kernels<BlockAttention>();
  const double scale = 1 / std::sqrt(static_cast<double>(t.q.size(2)));
  const DType dtype = context.accumulator_dtype();
  const AttentionState state = kernel.initial_state(context, t.q.size(0), t.q.size(1), t.q.size(2));
  const auto ones = [&](const Shape& shape) {
    Tensor x = context.empty(shape, dtype);
    for (int64_t i = 0; i < x.num_elements(); ++i) {
      if (dtype == DType::kFloat64) x.data<double>()[i] = 1;
      if (dtype == DType::kFloat32) x.data<float>()[i] = 1;
    }
    return x;
  };
  AttentionGradient g;
  g.doutput = t.dy;
  g.lse = state.lse;
  g.delta = context.empty(state.lse.shape(), dtype);
  g.dq = ones(t.q.shape());
  const Tensor dk = ones(t.k.shape()), dv = ones(t.v.shape());
  for (const bool backward : {false, true}) {
    if (backward) kernel.delta(context, state.output, t.dy, g.delta);
    for (size_t c = 0; c + 1 < cuts.size(); ++c) {
      const KeyIntervals piece(intervals, {{.start = cuts[c], .stride = 1, .length = cuts[c + 1] - cuts[c]}});
      const auto part = [&](const Tensor& x) { return x.slice(0, cuts[c], cuts[c + 1]); };
      const AttentionBlock block = {.q = t.q, .k = part(t.k), .v = part(t.v), .visible = &piece, .scale = scale};
      g.dk = part(dk);
      g.dv = part(dv);
      if (backward) {
        kernel.backward(context, block, g);
      } else {
        kernel.forward(context, block, state);
      }
    }
  }
  return {values(state.output), values(state.lse), values(g.dq), values(dk), values(dv)};
}

double largest_lse_error(const std::vector<double>& got, const std::vector<double>& want) {
  double largest = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isinf(want[i]) || std::isinf(got[i])) {
      if (got[i] != want[i]) return INFINITY;
      continue;
    }
    largest = std::max(largest, std::abs(got[i] - want[i]) / std::max(1.0, std::abs(want[i])));
  }
  return largest;
}

Context level_context(CpuLevel level, DType dtype, int num_threads = 1) {
  auto kernels = std::make_shared<KernelSet>("cpu");
  add_cpu_attention(*kernels, level);
  return Context({.device = {}, .compute_dtype = dtype, .num_threads = num_threads, .memory = nullptr, .kernels = kernels});
}

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

class CpuAttentionTest : public testing::TestWithParam<CpuLevel> {};

TEST_P(CpuAttentionTest, MatchesTheReferenceInOneAndInManyPieces) {
  const Context reference = test::make_context(DType::kFloat64);
  uint64_t seed = 0;
  for (const Problem& p : problems()) {
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      SCOPED_TRACE(describe(p) + " " + std::string(name(dtype)));
      const Context context = level_context(GetParam(), dtype);
      const Tensors t = make_tensors(context, p, dtype, ++seed);
      const Tensors exact = {as_double(reference, t.q), as_double(reference, t.k), as_double(reference, t.v),
                             as_double(reference, t.dy)};
      const auto intervals = visible(p, seed);
      const Result want = attend(reference, exact, intervals, {0, p.num_keys});
      const int64_t third = p.num_keys / 3;
      for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{0, p.num_keys}, {0, third, third, p.num_keys - 1, p.num_keys}}) {
        const Result got = attend(context, t, intervals, cuts);
        const double tolerance = 3e-6 * std::max(1.0, p.logit_scale);
        EXPECT_LT(test::relative_error(got.output, want.output), tolerance);
        EXPECT_LT(largest_lse_error(got.lse, want.lse), tolerance);
        EXPECT_LT(test::relative_error(got.dq, want.dq), tolerance);
        EXPECT_LT(test::relative_error(got.dk, want.dk), tolerance);
        EXPECT_LT(test::relative_error(got.dv, want.dv), tolerance);
      }
    }
  }
}

TEST_P(CpuAttentionTest, RowsThatSeeNothingStayEmpty) {
  const Context context = level_context(GetParam(), DType::kFloat32);
  const Problem p = {40, 20, 2, 1, 16};
  const Result r = attend(context, make_tensors(context, p, DType::kFloat32, 1), visible(p, 1), {0, 20});
  for (size_t i = 0; i < 20; ++i) EXPECT_EQ(r.lse[i], -std::numeric_limits<double>::infinity());
  for (size_t i = 0; i < 20 * 2 * 16; ++i) {
    EXPECT_EQ(r.output[i], 0);
    EXPECT_EQ(r.dq[i], 1) << "nothing is added";
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, CpuAttentionTest, testing::ValuesIn(supported_cpu_levels()),
                         [](const auto& i) { return std::string(name(i.param)); });

TEST(ReferenceAttention, GradientMatchesCentralDifferences) {
  const Context context = test::make_context(DType::kFloat64);
  const Problem p = {9, 13, 4, 2, 3, Problem::Kind::kScattered};
  const Tensors t = make_tensors(context, p, DType::kFloat64, 3);
  const auto intervals = visible(p, 3);
  const Result r = attend(context, t, intervals, {0, 13});
  const auto check_gradient = [&](const Tensor& input, const std::vector<double>& gradient, const char* what) {
    const auto direction = values(test::random_tensor(context, input.shape(), DType::kFloat64, 4, what));
    double expected = 0;
    for (size_t i = 0; i < direction.size(); ++i) expected += (gradient[i] - 1) * direction[i];
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

TEST(KeyIntervals, MatchBruteForce) {
  const RandomStream random(1, "intervals");
  uint64_t n = 0;
  const auto draw = [&](int64_t bound) { return static_cast<int64_t>(random.below(n++, static_cast<uint64_t>(bound))); };
  for (int repeat = 0; repeat < 200; ++repeat) {
    IndexRanges keys;
    int64_t next = draw(5);
    for (int64_t r = draw(4); r > 0; --r) {
      const IndexRange range = {.start = next, .stride = 1 + draw(4), .length = draw(9)};
      if (range.length == 0) continue;
      keys.push_back(range);
      next = range[range.length - 1] + 1 + draw(6);
    }
    std::vector<IndexInterval> intervals;
    for (int64_t q = draw(70); q > 0; --q) intervals.push_back({draw(60), draw(60)});
    const KeyIntervals got(intervals, keys);
    const auto all = indices(keys);
    for (size_t q = 0; q < intervals.size(); ++q) {
      const auto& tile = got.tiles()[q / 32];
      for (size_t slot = 0; slot < all.size(); ++slot) {
        const auto s = static_cast<int32_t>(slot);
        const bool sees = all[slot] >= intervals[q].begin && all[slot] < intervals[q].end;
        EXPECT_EQ(s >= got.begin()[q] && s < got.end()[q], sees);
        EXPECT_TRUE(!sees || (s >= tile.any_begin && s < tile.any_end));
        EXPECT_TRUE(sees || s < tile.all_begin || s >= tile.all_end);
      }
    }
  }
}

}  // namespace
}  // namespace longspan
