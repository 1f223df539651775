// The interface of block attention, on every backend: empty shards, delta, progress, and what it refuses.
#include <gtest/gtest.h>

#include <limits>

#include "tests/attention/attention_cases.h"
#include "tests/support/reference_context.h"
#include "tests/support/tensors.h"

namespace longspan {
namespace {

using test::Problem;
using test::values;

class BlockInterfaceTest : public testing::TestWithParam<DType> {
 protected:
  Context context_ = test::make_context(GetParam());
  const BlockAttention& kernel_ = context_.kernels<BlockAttention>();
};

TEST_P(BlockInterfaceTest, EmptyShardsChangeNothing) {
  for (const Problem& p : {Problem{0, 5, 2, 1, 4}, Problem{5, 0, 2, 1, 4}, Problem{0, 0, 2, 1, 4}}) {
    const test::Inputs t = test::make_inputs(context_, p, GetParam(), 1);
    const test::Result r = attend(context_, t, test::visible(p, 1), {0, p.num_keys});
    for (const double lse : r.lse) EXPECT_EQ(lse, -std::numeric_limits<double>::infinity());
    for (const double o : r.output) EXPECT_EQ(o, 0);
    for (const auto* gradient : {&r.dq, &r.dk, &r.dv}) {
      for (const double g : *gradient) EXPECT_EQ(g, test::kBegunGradient);
    }
  }
}

TEST_P(BlockInterfaceTest, DeltaOfEitherOutput) {
  for (const DType output_dtype : {GetParam(), context_.accumulator_dtype()}) {
    for (const int64_t head_dim : {1, 20, 64}) {
      const Shape shape = {13, 3, head_dim};
      const Tensor o = test::random_tensor(context_, shape, output_dtype, 1, "o");
      const Tensor dy = test::random_tensor(context_, shape, GetParam(), 1, "dy");
      const Tensor delta = context_.empty({3, 13}, context_.accumulator_dtype());
      kernel_.delta(context_, o, dy, delta);
      std::vector<double> want(39);
      const auto x = values(o), y = values(dy);
      for (size_t i = 0; i < x.size(); ++i) {
        const size_t row = i / static_cast<size_t>(head_dim);
        want[row % 3 * 13 + row / 3] += x[i] * y[i];
      }
      EXPECT_LT(test::relative_error(values(delta), want), 1e-6);
    }
  }
}

// A problem that is right, for tests that make it wrong in one place.
struct Calls {
  AttentionBlock block;
  AttentionState state;
  AttentionGradient gradient;
};

TEST_P(BlockInterfaceTest, RefusesWhatDoesNotFit) {
  const Problem p = {.num_queries = 3, .num_keys = 4, .num_heads = 4, .num_kv_heads = 2, .head_dim = 6};
  const test::Inputs t = test::make_inputs(context_, p, GetParam(), 1);
  const KeyIntervals visible(test::visible(p, 1), {{.start = 0, .stride = 1, .length = 4}});
  const DType accumulator = context_.accumulator_dtype();
  const auto zeros = [&](const Shape& shape) { return context_.zeros(shape, accumulator); };
  const auto expect_refused = [&](const char* what, const auto& spoil) {
    Calls c = {.block = {.q = t.q, .k = t.k, .v = t.v, .visible = &visible, .scale = 1},
               .state = kernel_.initial_state(context_, 3, 4, 6),
               .gradient = {.doutput = t.dy, .lse = zeros({4, 3}), .delta = zeros({4, 3}), .dq = zeros({3, 4, 6}),
                            .dk = zeros({4, 2, 6}), .dv = zeros({4, 2, 6})}};
    spoil(c);
    EXPECT_THROW(
        {
          kernel_.forward(context_, c.block, c.state);
          kernel_.backward(context_, c.block, c.gradient);
        },
        Error)
        << what;
  };
  const Tensor integers = context_.zeros({4, 2, 6}, DType::kInt32);
  expect_refused("no intervals", [&](Calls& c) { c.block.visible = nullptr; });
  expect_refused("queries", [&](Calls& c) { c.block.q = t.q.slice(0, 0, 2); });
  expect_refused("keys", [&](Calls& c) { c.block.k = t.k.slice(0, 0, 3); });
  expect_refused("values", [&](Calls& c) { c.block.v = t.v.slice(0, 0, 3); });
  expect_refused("heads", [&](Calls& c) { c.block.q = t.q.slice(1, 0, 3); });
  expect_refused("head_dim", [&](Calls& c) { c.block.k = t.k.slice(2, 0, 5); });
  expect_refused("rank", [&](Calls& c) { c.block.k = t.k.select(1, 0); });
  expect_refused("dtype", [&](Calls& c) { c.block.v = integers; });
  expect_refused("output", [&](Calls& c) { c.state.output = zeros({3, 2, 6}); });
  expect_refused("lse", [&](Calls& c) { c.state.lse = zeros({3, 4}); });
  expect_refused("doutput", [&](Calls& c) { c.gradient.doutput = t.dy.slice(0, 0, 2); });
  expect_refused("final lse", [&](Calls& c) { c.gradient.lse = zeros({3, 4}); });
  expect_refused("delta", [&](Calls& c) { c.gradient.delta = zeros({3, 4}); });
  expect_refused("dq", [&](Calls& c) { c.gradient.dq = zeros({4, 4, 6}); });
  expect_refused("dk", [&](Calls& c) { c.gradient.dk = integers; });
  expect_refused("dv", [&](Calls& c) { c.gradient.dv = zeros({4, 4, 6}).slice(1, 0, 2); });
}

INSTANTIATE_TEST_SUITE_P(Types, BlockInterfaceTest, testing::Values(DType::kFloat64, DType::kFloat32, DType::kBFloat16),
                         [](const auto& i) { return std::string(name(i.param)); });

TEST(CpuAttention, MakesProgressWithinATask) {
  const Problem p = {.num_queries = 20, .num_keys = 2000, .num_heads = 1, .num_kv_heads = 1, .head_dim = 4,
                     .kind = Problem::Kind::kFull};
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    Context context = test::make_context(dtype);
    int calls = 0;
    const Context::ProgressGuard guard(context, [&] { ++calls; });
    attend(context, test::make_inputs(context, p, dtype, 1), test::visible(p, 1), {0, 2000});
    EXPECT_GT(calls, 2000 / 64 + 2000 / 256);
  }
}

TEST(CpuAttention, RefusesDouble) {
  const Context context = test::level_context(CpuLevel::kPortable, DType::kFloat64);
  const Problem p = {.num_queries = 3, .num_keys = 4, .num_heads = 2, .num_kv_heads = 2, .head_dim = 6};
  EXPECT_THROW(attend(context, test::make_inputs(context, p, DType::kFloat64, 1), test::visible(p, 1), {0, 4}), Error);
}

}  // namespace
}  // namespace longspan
