// The tile kernels of attention, on the emulated tile unit: what they must leave alone, what they must not hide, that threads
// and windows change nothing, and how many instructions they take.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "tests/attention/attention_cases.h"
#include "tests/attention/context_makers.h"
#include "tests/support/emulated_attention.h"
#include "tests/support/emulated_tiles.h"
#include "tests/support/reference_context.h"
#include "tests/support/tensors.h"

namespace longspan {
namespace {

using test::attend;
using test::emulated_tile_context;
using test::Problem;
using test::values;

class TileAttentionTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!test::has_emulated_tiles()) GTEST_SKIP() << "the emulation needs AVX-512, which this machine has not";
  }
  static test::Inputs inputs(const Problem& p, uint64_t seed) {
    return test::make_inputs(emulated_tile_context(DType::kBFloat16), p, DType::kBFloat16, seed);
  }
  static void expect_right(const Problem& p, uint64_t seed, const TileWindows& windows = {}) {
    SCOPED_TRACE(test::describe(p));
    const Context reference = test::make_context(DType::kFloat64);
    const test::Inputs t = inputs(p, seed);
    const auto intervals = test::visible(p, seed);
    test::expect_near(attend(emulated_tile_context(DType::kBFloat16, 1, windows), t, intervals, {0, p.num_keys}),
                      attend(reference, test::as_double(reference, t), intervals, {0, p.num_keys}), 3e-6,
                      test::rounding_in_tiles());
  }
};

void expect_same_bits(const test::Result& a, const test::Result& b) {
  EXPECT_EQ(a.output, b.output);
  EXPECT_EQ(a.lse, b.lse);
  EXPECT_EQ(a.dq, b.dq);
  EXPECT_EQ(a.dk, b.dk);
  EXPECT_EQ(a.dv, b.dv);
}

TEST_F(TileAttentionTest, AnyNumberOfThreadsGivesTheSameBits) {
  using Kind = Problem::Kind;
  for (const Problem& p : {Problem{1100, 1700, 2, 1, 64}, Problem{1600, 1600, 1, 1, 128},
                           Problem{600, 600, 6, 3, 80, Kind::kWindow}, Problem{64, 1400, 2, 2, 64, Kind::kScattered}}) {
    SCOPED_TRACE(test::describe(p));
    const test::Inputs t = inputs(p, 5);
    const auto intervals = test::visible(p, 5);
    const test::Result one = attend(emulated_tile_context(DType::kBFloat16), t, intervals, {0, p.num_keys});
    for (const int num_threads : {2, 3, 8}) {
      expect_same_bits(attend(emulated_tile_context(DType::kBFloat16, num_threads), t, intervals, {0, p.num_keys}), one);
    }
  }
}

// Without AVX512_BF16 its two instructions are spelled out, with their order and rounding; so real tiles, which have them,
// give what all other tests here see.
TEST_F(TileAttentionTest, InstructionsForBFloat16GiveTheSameBits) {
  if (!test::has_emulated_bf16_tiles()) GTEST_SKIP() << "this machine has no AVX512_BF16";
  using Kind = Problem::Kind;
  for (const Problem& p : {Problem{140, 420, 2, 1, 128}, Problem{210, 300, 4, 2, 16, Kind::kScattered},
                           Problem{33, 700, 1, 1, 65, Kind::kFull}, Problem{40, 150, 1, 1, 256, Kind::kWindow}}) {
    SCOPED_TRACE(test::describe(p));
    const test::Inputs t = inputs(p, 3);
    const auto intervals = test::visible(p, 3);
    expect_same_bits(attend(test::emulated_bf16_tile_context(DType::kBFloat16), t, intervals, {0, p.num_keys}),
                     attend(emulated_tile_context(DType::kBFloat16), t, intervals, {0, p.num_keys}));
  }
}

// Where packed copies of all heads, keys or queries do not fit at once.
TEST_F(TileAttentionTest, InSeveralWindows) {
  using Kind = Problem::Kind;
  for (const TileWindows& windows : {TileWindows{1, 1}, TileWindows{400000, 256}, TileWindows{1, 512}}) {
    expect_right({80, 420, 6, 3, 128}, 1, windows);
    expect_right({210, 300, 8, 1, 16, Kind::kScattered}, 2, windows);
    expect_right({33, 700, 2, 2, 65, Kind::kFull}, 3, windows);
    expect_right({290, 290, 2, 1, 64, Kind::kDocuments}, 4, windows);
  }
}

TEST_F(TileAttentionTest, OfMoreThanOneSuperBlock) {
  expect_right({70, 4500, 2, 1, 64}, 1);
  expect_right({300, 2500, 1, 1, 128}, 2);
  expect_right({40, 1200, 1, 1, 256}, 3);
}

TEST_F(TileAttentionTest, QueriesThatSeeNothingOfABlockKeepTheirState) {
  const Context c = emulated_tile_context(DType::kBFloat16);
  const Problem p = {.num_queries = 70, .num_keys = 200, .num_heads = 2, .num_kv_heads = 1, .head_dim = 72};
  const test::Inputs t = inputs(p, 1);
  std::vector<IndexInterval> intervals(70, {0, 200});
  for (size_t i = 0; i < 64; i += 3) intervals[i] = {20, 20};
  const KeyIntervals visible(intervals, {{.start = 0, .stride = 1, .length = 200}});
  const AttentionState state = {.output = test::random_tensor(c, {70, 2, 72}, DType::kFloat32, 2, "o"),
                                .lse = test::random_tensor(c, {2, 70}, DType::kFloat32, 2, "lse", 100)};
  const auto output = values(state.output), lse = values(state.lse);
  c.kernels<BlockAttention>().forward(c, {.q = t.q, .k = t.k, .v = t.v, .visible = &visible, .scale = 0.1}, state);
  const auto new_output = values(state.output), new_lse = values(state.lse);
  for (size_t i = 0; i < 70; ++i) {
    const bool sees = intervals[i].begin < intervals[i].end;
    for (size_t h = 0; h < 2; ++h) {
      if (sees) {
        EXPECT_GE(new_lse[h * 70 + i], lse[h * 70 + i] - 1e-3) << "more keys, more weight";
        continue;
      }
      EXPECT_EQ(new_lse[h * 70 + i], lse[h * 70 + i]);
      for (size_t d = 0; d < 72; ++d) EXPECT_EQ(new_output[(i * 2 + h) * 72 + d], output[(i * 2 + h) * 72 + d]);
    }
  }
}

TEST_F(TileAttentionTest, KeysThatNobodySeesAreNotRead) {
  const Problem p = {.num_queries = 90, .num_keys = 500, .num_heads = 2, .num_kv_heads = 1, .head_dim = 40};
  const std::vector<IndexInterval> intervals(90, {201, 333});
  const test::Inputs clean = inputs(p, 1), poisoned = inputs(p, 1);
  for (const Tensor& x : {poisoned.k, poisoned.v}) {
    for (int64_t j = 0; j < 500; ++j) {
      if (j < 201 || j >= 333) std::fill_n(x.select(0, j).data<bfloat16>(), 40, bfloat16(std::nanf("")));
    }
  }
  const Context c = emulated_tile_context(DType::kBFloat16);
  expect_same_bits(attend(c, poisoned, intervals, {0, 500}), attend(c, clean, intervals, {0, 500}));
}

TEST_F(TileAttentionTest, NotANumberIsNotHidden) {
  const Context c = emulated_tile_context(DType::kBFloat16);
  const Problem p = {.num_queries = 150, .num_keys = 150, .num_heads = 1, .num_kv_heads = 1, .head_dim = 64};
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    const test::Inputs t = inputs(p, 1);
    t.q.view<bfloat16, 3>()(7, 0, 3) = bfloat16(bad);
    const test::Result r = attend(c, t, test::visible(p, 1), {0, 150});
    for (size_t i = 0; i < 150; ++i) EXPECT_EQ(std::isnan(r.lse[i]), i == 7) << i;
    EXPECT_TRUE(std::isnan(r.output[7 * 64]));
    EXPECT_TRUE(std::isnan(r.dq[7 * 64]));
    EXPECT_TRUE(std::isnan(r.dk[0]));
  }
  for (const char* what : {"k", "v", "dy"}) {
    const test::Inputs t = inputs(p, 1);
    const Tensor& x = *what == 'k' ? t.k : *what == 'v' ? t.v : t.dy;
    x.view<bfloat16, 3>()(60, 0, 5) = bfloat16(std::nanf(""));
    const test::Result r = attend(c, t, test::visible(p, 1), {0, 150});
    EXPECT_EQ(std::isnan(r.output[60 * 64 + 5]), *what != 'd') << what;
    EXPECT_TRUE(std::isnan(r.dq[60 * 64])) << what;
    EXPECT_TRUE(std::isnan(r.dk[60 * 64])) << what;
  }
}

// Also NaNs whose bits are all ones, to which rounding by addition must not be applied.
TEST_F(TileAttentionTest, NotANumberInStateOrLseIsNotHidden) {
  const Context c = emulated_tile_context(DType::kBFloat16);
  const auto& kernel = c.kernels<BlockAttention>();
  const Problem p = {.num_queries = 40, .num_keys = 40, .num_heads = 1, .num_kv_heads = 1, .head_dim = 64};
  const test::Inputs t = inputs(p, 1);
  const KeyIntervals visible(test::visible(p, 1), {{.start = 0, .stride = 1, .length = 40}});
  const AttentionBlock block = {.q = t.q, .k = t.k, .v = t.v, .visible = &visible, .scale = 0.1};
  const AttentionState state = kernel.initial_state(c, 40, 1, 64);
  const float bad = std::bit_cast<float>(0xffffffffu);
  state.lse.data<float>()[3] = bad;
  kernel.forward(c, block, state);
  EXPECT_TRUE(std::isnan(values(state.lse)[3]));
  EXPECT_TRUE(std::isnan(values(state.output)[3 * 64]));
  EXPECT_FALSE(std::isnan(values(state.output)[4 * 64]));
  for (const bool in_delta : {false, true}) {
    AttentionGradient g = {.doutput = t.dy, .lse = c.zeros({1, 40}, DType::kFloat32), .delta = c.zeros({1, 40}, DType::kFloat32),
                           .dq = c.zeros({40, 1, 64}, DType::kFloat32), .dk = c.zeros({40, 1, 64}, DType::kFloat32),
                           .dv = c.zeros({40, 1, 64}, DType::kFloat32)};
    (in_delta ? g.delta : g.lse).data<float>()[3] = bad;
    kernel.backward(c, block, g);
    EXPECT_TRUE(std::isnan(values(g.dq)[3 * 64]));
    EXPECT_FALSE(std::isnan(values(g.dq)[4 * 64]));
    EXPECT_TRUE(std::isnan(values(g.dk)[0]));
    EXPECT_EQ(std::isnan(values(g.dv)[0]), !in_delta);
  }
}

// A key of logit minus infinity is a key that is not seen.
TEST_F(TileAttentionTest, InfinitelyUnlikelyKeysCountForNothing) {
  const Context c = emulated_tile_context(DType::kBFloat16);
  const auto& kernel = c.kernels<BlockAttention>();
  const Problem p = {.num_queries = 40, .num_keys = 90, .num_heads = 1, .num_kv_heads = 1, .head_dim = 64};
  const test::Inputs t = inputs(p, 1);
  for (int64_t i = 0; i < 40; ++i) t.q.view<bfloat16, 3>()(i, 0, 0) = bfloat16(1.0f);
  for (int64_t j = 0; j < 50; ++j) t.k.view<bfloat16, 3>()(j, 0, 0) = bfloat16(-std::numeric_limits<float>::infinity());
  const auto run = [&](int64_t begin, int64_t end) {
    const KeyIntervals visible(std::vector<IndexInterval>(40, {begin, end}), {{.start = 0, .stride = 1, .length = 90}});
    const AttentionState state = kernel.initial_state(c, 40, 1, 64);
    kernel.forward(c, {.q = t.q, .k = t.k, .v = t.v, .visible = &visible, .scale = 0.1}, state);
    return std::pair(values(state.output), values(state.lse));
  };
  EXPECT_LT(test::relative_error(run(0, 90).first, run(50, 90).first), 1e-2);
  EXPECT_LT(test::largest_lse_error(run(0, 90).second, run(50, 90).second), 2e-4);
  EXPECT_EQ(run(0, 50).second, std::vector<double>(40, -std::numeric_limits<double>::infinity()));
  EXPECT_EQ(run(0, 50).first, std::vector<double>(40 * 64, 0.0));
}

// It may be called within the kernels, and must then find the floating-point modes of its own thread.
TEST_F(TileAttentionTest, ProgressIsCalledBetweenTiles) {
  Context c = emulated_tile_context(DType::kBFloat16);
  const Problem p = {.num_queries = 300, .num_keys = 300, .num_heads = 1, .num_kv_heads = 1, .head_dim = 64};
  const test::Inputs t = inputs(p, 1);
  const volatile float tiny = 1e-39f;
  int num_calls = 0;
  const Context::ProgressGuard guard(c, [&] {
    ++num_calls;
    EXPECT_GT(tiny * 0.5f, 0.0f) << "denormals are flushed";
  });
  attend(c, t, test::visible(p, 1), {0, 300});
  EXPECT_GT(num_calls, 12);
}

// A progress hook that throws, at each of its calls in turn, while other threads work or wait for rows: the caller is told,
// no thread is left waiting (ctest's limit would end this test), and the next call finds all in order. With more threads than
// rows to hold, most of them wait.
TEST_F(TileAttentionTest, AHookThatThrowsEndsTheCall) {
  constexpr int kAllCalls = 1 << 20;
  Context c = emulated_tile_context(DType::kBFloat16, 8);
  const Problem p = {.num_queries = 2100, .num_keys = 2100, .num_heads = 1, .num_kv_heads = 1, .head_dim = 16};
  const test::Inputs t = inputs(p, 1);
  const auto intervals = test::visible(p, 1);
  const test::Result right = attend(c, t, intervals, {0, p.num_keys});
  int num_calls = 0, allowed = kAllCalls;
  const Context::ProgressGuard guard(c, [&] {
    if (++num_calls > allowed) throw std::runtime_error("the hook fails");
  });
  for (int next = 0; next < 300; next += 1 + next / 8) {
    num_calls = 0;
    allowed = next;
    bool thrown = false;
    try {
      attend(c, t, intervals, {0, p.num_keys});
    } catch (const std::runtime_error&) {
      thrown = true;
    }
    EXPECT_EQ(thrown, num_calls > next) << next;
  }
  allowed = kAllCalls;
  expect_same_bits(attend(c, t, intervals, {0, p.num_keys}), right);
}

struct Counted {
  test::TileCounts forward, backward;
};
// Of one head, all of whose queries see all keys.
Counted count_instructions(int64_t num_queries, int64_t num_keys, int64_t head_dim) {
  const Context c = emulated_tile_context(DType::kBFloat16);
  const auto& kernel = c.kernels<BlockAttention>();
  const Problem p = {num_queries, num_keys, 1, 1, head_dim, Problem::Kind::kFull};
  const test::Inputs t = test::make_inputs(c, p, DType::kBFloat16, 1);
  const KeyIntervals visible(test::visible(p, 1), {{.start = 0, .stride = 1, .length = num_keys}});
  const AttentionBlock block = {.q = t.q, .k = t.k, .v = t.v, .visible = &visible, .scale = 0.01};
  const AttentionState state = kernel.initial_state(c, num_queries, 1, head_dim);
  Counted counted;
  test::tile_counts() = {};
  kernel.forward(c, block, state);
  counted.forward = test::tile_counts();
  const Shape q = t.q.shape(), k = t.k.shape(), rows = {1, num_queries};
  const AttentionGradient g = {.doutput = t.dy, .lse = state.lse, .delta = c.zeros(rows, DType::kFloat32),
                               .dq = c.zeros(q, DType::kFloat32), .dk = c.zeros(k, DType::kFloat32),
                               .dv = c.zeros(k, DType::kFloat32)};
  test::tile_counts() = {};
  kernel.backward(c, block, g);
  counted.backward = test::tile_counts();
  return counted;
}

void expect_counts(const test::TileCounts& more, const test::TileCounts& less, const test::TileCounts& want) {
  EXPECT_EQ(more.multiplications - less.multiplications, want.multiplications);
  EXPECT_EQ(more.loads - less.loads, want.loads);
  EXPECT_EQ(more.stream_loads - less.stream_loads, want.stream_loads);
  EXPECT_EQ(more.stores - less.stores, want.stores);
  EXPECT_EQ(more.zeros - less.zeros, want.zeros);
}

// One block of 128 keys more, for one tile of 32 queries forward, and two more for 256 queries backward: what a unit of 2 x 2
// tiles needs, each of its operands loaded once but for two of b. The two more are a task of their own, which begins by zeroing
// the 4 tiles of its sums.
TEST_F(TileAttentionTest, InstructionsOfABlock) {
  expect_counts(count_instructions(32, 640, 128).forward, count_instructions(32, 512, 128).forward,
                {.multiplications = 128, .loads = 96, .stream_loads = 64, .stores = 32, .zeros = 16});
  expect_counts(count_instructions(32, 640, 64).forward, count_instructions(32, 512, 64).forward,
                {.multiplications = 64, .loads = 52, .stream_loads = 32, .stores = 24, .zeros = 16});
  expect_counts(count_instructions(256, 512, 128).backward, count_instructions(256, 256, 128).backward,
                {.multiplications = 5120, .loads = 3392, .stream_loads = 2560, .stores = 908, .zeros = 516});
}

}  // namespace
}  // namespace longspan
