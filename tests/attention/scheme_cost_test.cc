// Predicted costs: the bytes are those that were measured, the times those of the formulas, and the choice follows.
#include "attention/scheme_cost.h"

#include <gtest/gtest.h>

#include "attention/measured_rates.h"
#include "tests/attention/sequence_case.h"

namespace longspan {
namespace {

// 64 tokens for each of 8 ranks, 4 of them on a host.
AttentionShape small_shape() {
  const int64_t n = 512, pairs = n * (n + 1) / 2;
  return {.num_tokens = n, .num_heads = 8, .num_kv_heads = 4, .head_dim = 16, .dtype = DType::kBFloat16, .num_ranks = 8,
          .ranks_per_host = 4, .total_pairs = pairs, .most_pairs = pairs / 8};
}

AttentionShape long_shape(int64_t num_tokens) {
  const auto pairs = static_cast<double>(num_tokens * (num_tokens + 1) / 2);
  return {.num_tokens = num_tokens, .num_heads = 32, .num_kv_heads = 8, .head_dim = 128, .dtype = DType::kBFloat16,
          .num_ranks = 16, .ranks_per_host = 8, .total_pairs = pairs, .most_pairs = pairs / 16};
}

// Links of a host of GPUs, and of a network.
AttentionRates fast_rates() {
  return {.inside = {.latency_seconds = 5e-6, .bytes_per_second = 400e9},
          .across = {.latency_seconds = 10e-6, .bytes_per_second = 40e9},
          .forward_flops = 500e12,
          .backward_flops = 400e12,
          .call_seconds = 5e-6};
}

TEST(SchemeCost, BytesAreThoseThatAreMoved) {
  const AttentionShape shape = small_shape();
  const test::SequenceCase c = {LayoutType::kZigzag, Masking::kCausal, shape.num_tokens, 1, 1, shape.num_heads,
                                shape.num_kv_heads, shape.head_dim};
  const SchemeChoice choice = choose_scheme(shape, fast_rates());
  ASSERT_EQ(choice.costs.size(), 3U + 2 * 2) << "2 and 4 divide 8";
  for (const SchemeCost& cost : choice.costs) {
    ASSERT_EQ(cost.refused, "");
    SCOPED_TRACE(fmt::format("{} of {}", name(cost.scheme), cost.inner));
    run_in_process(shape.num_ranks, [&](Communicator& world) {
      const auto log = std::make_shared<CommLog>();
      const auto ranks = make_recording_communicator(world, log);
      Context context = test::make_context(shape.dtype);
      const auto attention = make_sequence_attention(*ranks, {.scheme = cost.scheme, .inner = cost.inner});
      const auto mine = test::make_share(context, c, world.rank(), shape.num_ranks, 1,
                                         {.dtype = shape.dtype, .drawn = shape.dtype});
      AttentionStash stash;
      attention->forward(context, mine.q, mine.k, mine.v, mine.tiles, &stash);
      EXPECT_EQ(log->bytes_received(), static_cast<size_t>(cost.forward_bytes));
      log->clear();
      attention->backward(context, mine.doutput, mine.tiles, stash);
      EXPECT_EQ(log->bytes_received(), static_cast<size_t>(cost.backward_bytes));
    });
  }
}

// Numbers that can be done in the head: a hop computes 1 s forward and 2.5 s backward, and moves one unit of bytes.
TEST(SchemeCost, ARingTakesTheLongerOfComputeAndTransferForEachHop) {
  AttentionShape shape = {.num_tokens = 4, .num_heads = 1, .num_kv_heads = 1, .head_dim = 1, .dtype = DType::kFloat32,
                          .num_ranks = 4, .ranks_per_host = 4, .total_pairs = 16, .most_pairs = 4};
  AttentionRates rates = {.inside = {.latency_seconds = 0, .bytes_per_second = 8}, .across = {},
                          .forward_flops = 4, .backward_flops = 4};
  // Keys and values of a token: 8 bytes, so 1 s; sums as many.
  const SchemeCost even = cost_of(ContextScheme::kRing, 1, shape, rates);
  EXPECT_DOUBLE_EQ(even.forward_seconds, 1 + 3 * 1);
  EXPECT_DOUBLE_EQ(even.backward_seconds, 2.5 + 3 * 2.5 + 1);
  EXPECT_DOUBLE_EQ(even.compute_seconds, 4 + 10);
  rates.inside.bytes_per_second = 2;  // 4 s
  const SchemeCost slow = cost_of(ContextScheme::kRing, 1, shape, rates);
  EXPECT_DOUBLE_EQ(slow.forward_seconds, 1 + 3 * 4);
  EXPECT_DOUBLE_EQ(slow.backward_seconds, 2.5 + 3 * 8 + 4);
  rates.inside.latency_seconds = 1;  // of two messages
  EXPECT_DOUBLE_EQ(cost_of(ContextScheme::kRing, 1, shape, rates).forward_seconds, 1 + 3 * 6);
}

TEST(SchemeCost, ADoubleRingHidesTheWayAcrossUnderAWindow) {
  const AttentionShape shape = {.num_tokens = 4, .num_heads = 1, .num_kv_heads = 1, .head_dim = 1, .dtype = DType::kFloat32,
                                .num_ranks = 4, .ranks_per_host = 2, .total_pairs = 16, .most_pairs = 4};
  const AttentionRates rates = {.inside = {.latency_seconds = 0, .bytes_per_second = 16},
                                .across = {.latency_seconds = 0, .bytes_per_second = 4},
                                .forward_flops = 4, .backward_flops = 4};
  EXPECT_DOUBLE_EQ(cost_of(ContextScheme::kRing, 1, shape, rates).forward_seconds, 1 + 3 * 2);
  EXPECT_DOUBLE_EQ(cost_of(ContextScheme::kDoubleRing, 2, shape, rates).forward_seconds, 2 + 2) << "2 s across under 2 s";
}

TEST(SchemeCost, OneRankHasNothingToMove) {
  AttentionShape shape = small_shape();
  shape.num_ranks = 1;
  shape.most_pairs = shape.total_pairs;
  const SchemeChoice choice = choose_scheme(shape, fast_rates());
  EXPECT_EQ(choice.best().scheme, ContextScheme::kRing);
  EXPECT_DOUBLE_EQ(choice.best().seconds(), choice.best().compute_seconds);
  EXPECT_EQ(choice.costs.size(), 1U);
  EXPECT_NE(choice.reason.find("one rank has nothing to move"), std::string::npos) << choice.reason;
}

TEST(SchemeCost, LongSequencesHideARingAndShortOnesExchange) {
  const SchemeChoice few = choose_scheme(long_shape(16384), fast_rates());
  const SchemeCost ring_of_few = cost_of(ContextScheme::kRing, 1, long_shape(16384), fast_rates());
  EXPECT_LT(few.best().seconds(), 0.7 * ring_of_few.seconds()) << few.reason;
  EXPECT_NE(few.best().scheme, ContextScheme::kRing);
  const SchemeCost ring_of_many = cost_of(ContextScheme::kRing, 1, long_shape(8 << 20), fast_rates());
  EXPECT_LT(ring_of_many.seconds(), 1.01 * ring_of_many.compute_seconds) << "millions of tokens hide all transfers";
}

// Queries that stay have the area that they have; exchanged heads see all tokens, on every rank alike.
TEST(SchemeCost, UnevenAreasSpeakForAnExchange) {
  AttentionShape shape = long_shape(1 << 20);
  const double even = cost_of(ContextScheme::kAllToAll, 1, shape, fast_rates()).seconds();
  shape.most_pairs = 2 * shape.most_pairs;
  EXPECT_DOUBLE_EQ(cost_of(ContextScheme::kAllToAll, 1, shape, fast_rates()).seconds(), even);
  EXPECT_GT(cost_of(ContextScheme::kRing, 1, shape, fast_rates()).seconds(), 1.9 * even);
  EXPECT_EQ(choose_scheme(shape, fast_rates()).best().scheme, ContextScheme::kAllToAll);
}

TEST(SchemeCost, WhatCannotBeIsRefusedAndLast) {
  AttentionShape shape = small_shape();
  shape.num_heads = shape.num_kv_heads = 2;
  const SchemeChoice choice = choose_scheme(shape, fast_rates());
  EXPECT_EQ(choice.best().refused, "");
  int refused = 0;
  for (const SchemeCost& cost : choice.costs) {
    refused += !cost.refused.empty();
    EXPECT_TRUE(!cost.refused.empty() || refused == 0) << "what can be comes first";
  }
  EXPECT_EQ(refused, 2) << "an exchange among 8 and one among 4";
  EXPECT_NE(cost_of(ContextScheme::kHybrid, 3, shape, fast_rates()).refused, "");
  EXPECT_NE(choice.reason.find("the next best"), std::string::npos) << choice.reason;
}

// What is measured scatters, and a ring needs the least memory.
TEST(SchemeCost, ARingThatIsNearlyAsFastIsTaken) {
  AttentionShape shape = {.num_tokens = 4, .num_heads = 4, .num_kv_heads = 4, .head_dim = 1, .dtype = DType::kFloat32,
                          .num_ranks = 4, .ranks_per_host = 4, .total_pairs = 1000, .most_pairs = 250};
  const AttentionRates rates = {.inside = {.latency_seconds = 0, .bytes_per_second = 1e9}, .across = {},
                                .forward_flops = 1e3, .backward_flops = 1e3};
  shape.most_pairs = 260;  // a little uneven
  const SchemeChoice near = choose_scheme(shape, rates);
  EXPECT_LT(cost_of(ContextScheme::kAllToAll, 1, shape, rates).seconds(), near.best().seconds());
  EXPECT_EQ(near.best().scheme, ContextScheme::kRing) << near.reason;
  EXPECT_NE(near.reason.find("too little less to count"), std::string::npos) << near.reason;
  shape.most_pairs = 270;
  EXPECT_NE(choose_scheme(shape, rates).best().scheme, ContextScheme::kRing);
}

TEST(MeasuredRates, AreThoseOfTheSlowestRankOnEveryRank) {
  std::vector<AttentionRates> rates(6);
  run_in_process(6, [&](Communicator& world) {
    const auto ranks = world.split(world.rank() % 2, world.rank(), "context");
    Context context = test::make_context(DType::kFloat32);
    const AttentionShape shape = {.num_tokens = 3 * 64, .num_heads = 4, .num_kv_heads = 2, .head_dim = 16,
                                  .dtype = DType::kFloat32, .num_ranks = 3, .ranks_per_host = 2};
    // A rank that is slow to send.
    const auto slow = make_faulty_communicator(*ranks, {.delay = std::chrono::milliseconds(world.rank() == 3 ? 5 : 0)});
    rates[static_cast<size_t>(world.rank())] = measure_rates(context, *slow, world, shape);
  });
  for (const AttentionRates& r : rates) {
    EXPECT_GE(r.across.latency_seconds, 5e-3);
    EXPECT_GT(r.forward_flops, 1e6);
    EXPECT_GT(r.backward_flops, 1e6);
    for (const auto member : {&LinkRate::latency_seconds, &LinkRate::bytes_per_second}) {
      EXPECT_EQ(r.inside.*member, rates[0].inside.*member);
      EXPECT_EQ(r.across.*member, rates[0].across.*member);
    }
    EXPECT_EQ(r.forward_flops, rates[0].forward_flops);
    EXPECT_EQ(r.backward_flops, rates[0].backward_flops);
    EXPECT_EQ(r.call_seconds, rates[0].call_seconds);
  }
}

}  // namespace
}  // namespace longspan
