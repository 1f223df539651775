// Block attention at every level: random problems, hard logits, threads, strides, and what must not be touched.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/attention/attention_cases.h"
#include "tests/support/reference_context.h"
#include "tests/support/tensors.h"

namespace longspan {
namespace {

using test::attend;
using test::ContextMaker;
using test::Problem;
using test::values;

class KernelsTest : public testing::TestWithParam<ContextMaker> {
 protected:
  Context context(DType dtype, int num_threads = 1) const { return GetParam().make(dtype, num_threads); }
  // As many of anything as there is time for.
  int64_t up_to(int64_t many, int64_t few) const { return GetParam().slow ? few : many; }
};

constexpr DType kDTypes[] = {DType::kFloat32, DType::kBFloat16};

void set(const Tensor& x, int64_t token, int64_t head, int64_t d, float value) {
  if (x.dtype() == DType::kFloat32) {
    x.view<float, 3>()(token, head, d) = value;
  } else {
    x.view<bfloat16, 3>()(token, head, d) = bfloat16(value);
  }
}

void expect_same_bits(const test::Result& a, const test::Result& b) {
  EXPECT_EQ(a.output, b.output);
  EXPECT_EQ(a.lse, b.lse);
  EXPECT_EQ(a.dq, b.dq);
  EXPECT_EQ(a.dk, b.dk);
  EXPECT_EQ(a.dv, b.dv);
}

TEST_P(KernelsTest, RandomProblems) {
  const Context reference = test::make_context(DType::kFloat64);
  const RandomStream random(7, "problems");
  constexpr int64_t kHeadDims[] = {1, 2, 5, 7, 8, 12, 16, 17, 20, 24, 32, 40, 48, 56, 64, 72, 80, 96, 100, 112, 128, 160};
  uint64_t n = 0;
  const auto draw = [&](int64_t bound) { return static_cast<int64_t>(random.below(n++, static_cast<uint64_t>(bound))); };
  for (uint64_t seed = 0; seed < 24; ++seed) {
    const int64_t num_kv_heads = 1 + draw(up_to(3, 1));
    const Problem p = {.num_queries = 1 + draw(110),
                       .num_keys = 1 + draw(up_to(170, 110)),
                       .num_heads = num_kv_heads * (1 + draw(3)),
                       .num_kv_heads = num_kv_heads,
                       .head_dim = kHeadDims[draw(std::size(kHeadDims))],
                       .kind = static_cast<Problem::Kind>(draw(5))};
    const DType dtype = draw(2) == 0 ? DType::kFloat32 : DType::kBFloat16;
    SCOPED_TRACE(test::describe(p));
    const test::Inputs t = test::make_inputs(context(dtype), p, dtype, seed);
    const auto intervals = test::visible(p, seed);
    std::vector<int64_t> cuts = {0, draw(p.num_keys + 1), draw(p.num_keys + 1), p.num_keys};
    std::sort(cuts.begin(), cuts.end());
    const test::Result want = attend(reference, test::as_double(reference, t), intervals, {0, p.num_keys});
    test::expect_near(attend(context(dtype), t, intervals, cuts), want, 3e-6, GetParam().rounding(dtype));
  }
}

// Kernels compute sixteen queries for themselves where others beside them see other keys, and sum over queries past those that
// see nothing; the first 64 queries leave their numbers where those of the next ones come.
TEST_P(KernelsTest, NeighboursThatSeeOtherKeys) {
  const Context reference = test::make_context(DType::kFloat64);
  const Problem p = {.num_queries = 256, .num_keys = 200, .num_heads = 1, .num_kv_heads = 1, .head_dim = 40};
  std::vector<IndexInterval> intervals(64, {0, 200});
  const auto sixteen = [&](IndexInterval seen) { intervals.insert(intervals.end(), 16, seen); };
  for (const IndexInterval seen : {IndexInterval{0, 61}, {70, 131}, {3, 64}, {0, 0}}) sixteen(seen);
  for (const IndexInterval seen : {IndexInterval{130, 200}, {0, 0}, {0, 0}, {131, 195}}) sixteen(seen);
  for (const IndexInterval seen : {IndexInterval{0, 0}, {9, 190}, {100, 101}, {0, 200}}) sixteen(seen);
  for (const DType dtype : kDTypes) {
    const test::Inputs t = test::make_inputs(context(dtype), p, dtype, 4);
    const test::Result want = attend(reference, test::as_double(reference, t), intervals, {0, p.num_keys});
    for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{0, 200}, {0, 66, 200}}) {
      test::expect_near(attend(context(dtype), t, intervals, cuts), want, 3e-6, GetParam().rounding(dtype));
    }
  }
}

// Work ends in the middle of what is computed at once, for keys begin at none of its multiples; beyond are keys that others
// take, and a score of 0, as of keys that are not there, would be infinitely likely beside these.
TEST_P(KernelsTest, ScoresFarBelowZeroAtTheEndsOfPieces) {
  const Context reference = test::make_context(DType::kFloat64);
  const int64_t n = up_to(2048, 200);
  const Problem p = {.num_queries = n, .num_keys = n, .num_heads = 1, .num_kv_heads = 1, .head_dim = 16};
  for (const DType dtype : kDTypes) {
    const test::Inputs t = test::make_inputs(context(dtype), p, dtype, 3);
    for (int64_t i = 0; i < p.num_queries; ++i) set(t.q, i, 0, 0, 4);
    for (int64_t j = 0; j < p.num_keys; ++j) set(t.k, j, 0, 0, -100);
    const std::vector<IndexInterval> intervals(static_cast<size_t>(n), {100, n});
    test::Result want = attend(reference, test::as_double(reference, t), intervals, {0, n});
    test::Result got = attend(context(dtype), t, intervals, {0, n});
    for (size_t i = 0; i < want.dq.size(); i += 16) {
      EXPECT_TRUE(std::isfinite(got.dq[i]));
      got.dq[i] = want.dq[i] = 0;  // the sum of ds times -100: nothing but rounding
    }
    const test::Rounding rounding = GetParam().rounding(dtype);
    EXPECT_LT(test::relative_error(got.output, want.output), 4e-5 + rounding.output);  // a score of 100 is rounded, too
    EXPECT_LT(test::relative_error(got.dv, want.dv), 4e-5 + rounding.output);
    EXPECT_LT(test::relative_error(got.dq, want.dq), 4e-5 + rounding.gradient);
    EXPECT_LT(test::relative_error(got.dk, want.dk), 4e-5 + rounding.gradient);
  }
}

// The kernel may lag behind the maximum, and must rescale before that shows; a state from an earlier shard may be anywhere.
TEST_P(KernelsTest, LogitsThatGrowFallOrStandOut) {
  const Context reference = test::make_context(DType::kFloat64);
  const Problem p = {.num_queries = 70, .num_keys = 400, .num_heads = 1, .num_kv_heads = 1, .head_dim = 16};
  const auto intervals = test::visible(p, 0);
  const auto shapes = {+[](int64_t j) { return 0.5 * static_cast<double>(j); },      // each key above all before it
                       +[](int64_t j) { return -0.5 * static_cast<double>(j); },     // the first decides
                       +[](int64_t j) { return j % 131 == 130 ? 500.0 : 0.0; },      // one-hot
                       +[](int64_t j) { return 7.9 * static_cast<double>(j / 64); },  // just below the rescale, each block
                       +[](int64_t j) { return j < 200 ? -3000.0 : 3000.0; }};
  for (const DType dtype : kDTypes) {
    const test::Rounding rounding = GetParam().rounding(dtype);
    uint64_t seed = 10;
    for (const auto& logit : shapes) {
      SCOPED_TRACE(fmt::format("{} {}", name(dtype), seed));
      const test::Inputs t = test::make_inputs(context(dtype), p, dtype, ++seed);
      // The first dim carries the logit: q = 4 there, k = logit; scale is 1/4.
      for (int64_t i = 0; i < p.num_queries; ++i) set(t.q, i, 0, 0, 4);
      for (int64_t j = 0; j < p.num_keys; ++j) set(t.k, j, 0, 0, static_cast<float>(logit(j)));
      const test::Result want = attend(reference, test::as_double(reference, t), intervals, {0, 400});
      for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{0, 400}, {0, 100, 300, 400}}) {
        const test::Result got = attend(context(dtype), t, intervals, cuts);
        // Rounding a logit of size L costs L 2^-24 of p; the largest here is 3000.
        EXPECT_LT(test::relative_error(got.output, want.output), 4e-4 + rounding.output);
        EXPECT_LT(test::largest_lse_error(got.lse, want.lse), 1e-6 + rounding.lse);
        EXPECT_LT(test::relative_error(got.dv, want.dv), 4e-4 + rounding.output);
        for (const double d : got.dk) EXPECT_TRUE(std::isfinite(d));
        for (const double d : got.dq) EXPECT_TRUE(std::isfinite(d));
      }
    }
  }
}

TEST_P(KernelsTest, AnyNumberOfThreadsGivesTheSameBits) {
  using Kind = Problem::Kind;
  const int64_t n = up_to(1100, 110);
  for (const Problem& p : {Problem{n / 4 + 25, n + up_to(600, 60), 4, 2, 16}, Problem{n, n, 1, 1, 32, Kind::kWindow},
                           Problem{n - 10, n - 10, 2, 1, 8, Kind::kDocuments}, Problem{64, 64, 2, 2, 64, Kind::kFull}}) {
    SCOPED_TRACE(test::describe(p));
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      const test::Inputs t = test::make_inputs(context(dtype), p, dtype, 5);
      const auto intervals = test::visible(p, 5);
      const test::Result one = attend(context(dtype), t, intervals, {0, p.num_keys});
      for (const int num_threads : {2, 3}) {
        expect_same_bits(attend(context(dtype, num_threads), t, intervals, {0, p.num_keys}), one);
      }
    }
  }
}

// As many chunks as a long shard makes, still against the reference.
TEST_P(KernelsTest, BackwardInManyChunks) {
  const Context reference = test::make_context(DType::kFloat64);
  const Problem p = {.num_queries = up_to(1600, 160), .num_keys = up_to(1100, 110), .num_heads = 2, .num_kv_heads = 1,
                     .head_dim = 4, .kind = Problem::Kind::kScattered};
  const auto intervals = test::visible(p, 2);
  for (const DType dtype : kDTypes) {
    const test::Inputs t = test::make_inputs(context(dtype), p, dtype, 2);
    test::expect_near(attend(context(dtype), t, intervals, {0, p.num_keys}),
                      attend(reference, test::as_double(reference, t), intervals, {0, p.num_keys}), 3e-6,
                      GetParam().rounding(dtype));
  }
}

// The heads of a projection that makes q, k and v at once: [tokens, q heads | k heads | v heads, head_dim].
TEST_P(KernelsTest, ReadsStridedHeads) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    const Context c = context(dtype);
    const Tensor packed = test::random_tensor(c, {75, 8, 24}, dtype, 1, "packed");
    const auto copied = [&](const Tensor& from) {
      const Tensor to = c.empty(from.shape(), dtype);
      const auto copy = [&]<class T>(T) {
        const auto x = from.view<T, 3>(), y = to.view<T, 3>();
        for (int64_t i = 0; i < x.size(0); ++i) {
          for (int64_t h = 0; h < x.size(1); ++h) std::copy_n(&x(i, h, 0), x.size(2), &y(i, h, 0));
        }
      };
      dtype == DType::kFloat32 ? copy(float{}) : copy(bfloat16{});
      return to;
    };
    const test::Inputs strided = {packed.slice(1, 0, 4), packed.slice(1, 4, 6), packed.slice(1, 6, 8),
                                  packed.slice(1, 2, 6)};
    const test::Inputs dense = {copied(strided.q), copied(strided.k), copied(strided.v), copied(strided.dy)};
    const auto intervals = test::visible({75, 75, 4, 2, 24}, 0);
    expect_same_bits(attend(c, strided, intervals, {0, 75}), attend(c, dense, intervals, {0, 75}));
  }
}

TEST_P(KernelsTest, KeysThatNobodySeesAreNotRead) {
  const Problem p = {.num_queries = 90, .num_keys = 300, .num_heads = 2, .num_kv_heads = 1, .head_dim = 40};
  const std::vector<IndexInterval> intervals(90, {101, 173});
  for (const DType dtype : kDTypes) {
    const Context c = context(dtype);
    const test::Inputs clean = test::make_inputs(c, p, dtype, 1);
    const test::Inputs poisoned = test::make_inputs(c, p, dtype, 1);
    for (const Tensor& x : {poisoned.k, poisoned.v}) {
      for (int64_t j = 0; j < 300; ++j) {
        for (int64_t d = 0; d < 40 && (j < 101 || j >= 173); ++d) set(x, j, 0, d, std::nanf(""));
      }
    }
    expect_same_bits(attend(c, poisoned, intervals, {0, 300}), attend(c, clean, intervals, {0, 300}));
  }
}

TEST_P(KernelsTest, QueriesThatSeeNothingOfABlockKeepTheirState) {
  const Problem p = {.num_queries = 64, .num_keys = 50, .num_heads = 1, .num_kv_heads = 1, .head_dim = 10};
  std::vector<IndexInterval> intervals(64, {0, 50});
  for (size_t i = 0; i < 64; i += 3) intervals[i] = {20, 20};
  const KeyIntervals visible(intervals, {{.start = 0, .stride = 1, .length = 50}});
  for (const DType dtype : kDTypes) {
    const Context c = context(dtype);
    const test::Inputs t = test::make_inputs(c, p, dtype, 1);
    const AttentionState state = {.output = test::random_tensor(c, {64, 1, 10}, DType::kFloat32, 2, "o"),
                                  .lse = test::random_tensor(c, {1, 64}, DType::kFloat32, 2, "lse", 100)};
    const auto output = values(state.output), lse = values(state.lse);
    c.kernels<BlockAttention>().forward(c, {.q = t.q, .k = t.k, .v = t.v, .visible = &visible, .scale = 1}, state);
    for (size_t i = 0; i < 64; i += 3) {
      EXPECT_EQ(values(state.lse)[i], lse[i]);
      for (size_t d = 0; d < 10; ++d) EXPECT_EQ(values(state.output)[i * 10 + d], output[i * 10 + d]);
    }
  }
}

// Adding 0 to -0 would show.
TEST_P(KernelsTest, TilesOfQueriesThatSeeNothingKeepTheirGradient) {
  const Problem p = {.num_queries = 160, .num_keys = 150, .num_heads = 1, .num_kv_heads = 1, .head_dim = 20};
  std::vector<IndexInterval> intervals(160, {0, 150});
  for (size_t i = 32; i < 128; ++i) intervals[i] = {150, 150};  // a tile beside one that sees keys, and two together
  for (const DType dtype : kDTypes) {
    const Context c = context(dtype);
    const test::Inputs t = test::make_inputs(c, p, dtype, 1);
    const KeyIntervals visible(intervals, {{.start = 0, .stride = 1, .length = 150}});
    const AttentionBlock block = {.q = t.q, .k = t.k, .v = t.v, .visible = &visible, .scale = 0.1};
    const AttentionGradient g = {.doutput = t.dy, .lse = c.zeros({1, 160}, DType::kFloat32),
                                 .delta = c.zeros({1, 160}, DType::kFloat32), .dq = c.zeros({160, 1, 20}, DType::kFloat32),
                                 .dk = c.zeros({150, 1, 20}, DType::kFloat32), .dv = c.zeros({150, 1, 20}, DType::kFloat32)};
    std::fill_n(g.dq.data<float>(), g.dq.num_elements(), -0.0f);
    c.kernels<BlockAttention>().backward(c, block, g);
    for (int64_t i = 0; i < 160; ++i) {
      const float* row = g.dq.select(0, i).data<float>();
      const bool kept = std::all_of(row, row + 20, [](float x) { return x == 0 && std::signbit(x); });
      EXPECT_EQ(kept, i >= 32 && i < 128) << name(dtype) << " query " << i;
    }
  }
}

TEST_P(KernelsTest, NotANumberIsNotHidden) {
  const Problem p = {.num_queries = 50, .num_keys = 50, .num_heads = 1, .num_kv_heads = 1, .head_dim = 8};
  for (const DType dtype : kDTypes) {
    for (const float bad : {std::nanf(""), INFINITY}) {
      const Context c = context(dtype);
      const test::Inputs t = test::make_inputs(c, p, dtype, 1);
      set(t.q, 7, 0, 3, bad);
      const test::Result r = attend(c, t, test::visible(p, 1), {0, 50});
      for (size_t i = 0; i < 50; ++i) EXPECT_EQ(std::isnan(r.lse[i]), i == 7) << i;
      EXPECT_TRUE(std::isnan(r.output[7 * 8]));
      EXPECT_TRUE(std::isnan(r.dq[7 * 8]));
      EXPECT_TRUE(std::isnan(r.dk[0]));
    }
  }
}

// Of an earlier hop: the query's row, and all keys that it sees.
TEST_P(KernelsTest, NotANumberInTheGivenStateIsNotHidden) {
  const Problem p = {.num_queries = 50, .num_keys = 50, .num_heads = 1, .num_kv_heads = 1, .head_dim = 8};
  const KeyIntervals visible(test::visible(p, 1), {{.start = 0, .stride = 1, .length = 50}});
  for (const DType dtype : kDTypes) {
    SCOPED_TRACE(name(dtype));
    const Context c = context(dtype);
    const test::Inputs t = test::make_inputs(c, p, dtype, 1);
    const AttentionBlock block = {.q = t.q, .k = t.k, .v = t.v, .visible = &visible, .scale = 0.3};
    const auto& attention = c.kernels<BlockAttention>();
    const AttentionState state = {.output = test::random_tensor(c, {50, 1, 8}, DType::kFloat32, 2, "o"),
                                  .lse = test::random_tensor(c, {1, 50}, DType::kFloat32, 2, "lse")};
    state.lse.data<float>()[7] = std::nanf("");
    attention.forward(c, block, state);
    const AttentionGradient g = {.doutput = t.dy, .lse = state.lse, .delta = c.zeros({1, 50}, DType::kFloat32),
                                 .dq = c.zeros({50, 1, 8}, DType::kFloat32), .dk = c.zeros({50, 1, 8}, DType::kFloat32),
                                 .dv = c.zeros({50, 1, 8}, DType::kFloat32)};
    attention.backward(c, block, g);
    for (int64_t i = 0; i < 50; ++i) {
      EXPECT_EQ(std::isnan(state.lse.data<float>()[i]), i == 7) << i;
      EXPECT_EQ(std::isnan(state.output.view<float, 3>()(i, 0, 0)), i == 7) << i;
      EXPECT_EQ(std::isnan(g.dq.view<float, 3>()(i, 0, 0)), i == 7) << i;
    }
    EXPECT_TRUE(std::isnan(g.dk.data<float>()[0]));
    EXPECT_TRUE(std::isnan(g.dv.data<float>()[0]));
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, KernelsTest, testing::ValuesIn(test::context_makers()),
                         [](const auto& i) { return i.param.name; });

}  // namespace
}  // namespace longspan
