// Ring attention in double precision on 1 to 8 ranks against one rank: outputs and all gradients.
#include "attention/ring_attention.h"

#include <gtest/gtest.h>

#include "parallel/comm/backends.h"
#include "tests/attention/sequence_case.h"
#include "tests/support/marked_attention.h"
#include "tests/support/reference_context.h"
#include "tests/support/tensors.h"

namespace longspan {
namespace {

using test::SequenceCase;
using test::SequenceResult;

void expect_same(const SequenceCase& c, uint64_t seed) {
  const SequenceResult one = attend(c, 1, seed);
  for (int num_ranks = 2; num_ranks <= 8; ++num_ranks) {
    SCOPED_TRACE(fmt::format("{} ranks, {}", num_ranks, c.to_string()));
    EXPECT_EQ(difference(attend(c, num_ranks, seed), one, 1e-12), "");
  }
}

class RingAttentionTest : public testing::TestWithParam<LayoutType> {};

TEST_P(RingAttentionTest, EqualsOneRank) {
  const LayoutType layout = GetParam();
  expect_same({layout, Masking::kCausal, 61, 1, 1, 4, 2, 5}, 1);  // a prime length
  expect_same({layout, Masking::kCausal, 64, 1, 1, 2, 2, 8}, 2);
  expect_same({layout, Masking::kFull, 37, 1, 1, 3, 1, 4}, 3);
  expect_same({layout, Masking::kCausal, 97, 1, 9, 6, 2, 3}, 4);  // documents that begin and end anywhere
  expect_same({layout, Masking::kFull, 53, 1, 6, 2, 1, 6}, 5);
  expect_same({layout, Masking::kCausal, 29, 3, 4, 2, 1, 4}, 6);  // a batch of packed sequences
}

TEST_P(RingAttentionTest, ShorterThanTheRing) {
  for (const int64_t length : {1, 2, 3, 5, 7}) {
    expect_same({GetParam(), Masking::kCausal, length, 1, 1, 2, 1, 3}, static_cast<uint64_t>(10 + length));
  }
}

// The vectorised kernels in a ring, against one rank in double precision on the same inputs.
class RingLevelTest : public testing::TestWithParam<CpuLevel> {};

TEST_P(RingLevelTest, EqualsOneRankInDoublePrecision) {
  uint64_t seed = 20;
  for (const LayoutType layout : {LayoutType::kContiguous, LayoutType::kZigzag, LayoutType::kStriped}) {
    for (const SequenceCase& c : {SequenceCase{layout, Masking::kCausal, 131, 1, 5, 4, 2, 64},
                                 SequenceCase{layout, Masking::kFull, 47, 2, 1, 3, 1, 20}}) {
      for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
        const SequenceResult want = attend(c, 1, ++seed, {.arithmetic = {.drawn = dtype}});
        const SequenceResult got = attend(c, 3, seed, {.arithmetic = {.dtype = dtype, .drawn = dtype, .level = GetParam()}});
        SCOPED_TRACE(fmt::format("{} {} x {}", name(dtype), name(layout), c.head_dim));
        // In bfloat16, results are rounded, and so are the output that delta is made of, p and ds: each by 1.7e-3 in the mean.
        const double tolerance = dtype == DType::kFloat32 ? 3e-6 : 5e-3;
        EXPECT_EQ(difference(got, want, tolerance), "");
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, RingLevelTest, testing::ValuesIn(supported_cpu_levels()),
                         [](const auto& i) { return std::string(name(i.param)); });

INSTANTIATE_TEST_SUITE_P(Layouts, RingAttentionTest,
                         testing::Values(LayoutType::kContiguous, LayoutType::kZigzag, LayoutType::kStriped),
                         [](const auto& i) { return std::string(name(i.param)); });

TEST(SequenceLayout, EveryIndexHasOneRankWhateverTheLength) {
  for (const auto type : {LayoutType::kContiguous, LayoutType::kZigzag, LayoutType::kStriped}) {
    for (int num_ranks = 1; num_ranks <= 8; ++num_ranks) {
      for (const int64_t length : {0, 1, 2, 7, 16, 31, 100}) {
        const SequenceLayout layout(type, num_ranks, length, 2);
        std::vector<int> owners(static_cast<size_t>(2 * length), 0);
        for (int r = 0; r < num_ranks; ++r) {
          const auto mine = indices(layout.ranges(r));
          EXPECT_TRUE(std::is_sorted(mine.begin(), mine.end()));
          EXPECT_EQ(static_cast<int64_t>(mine.size()), layout.num_tokens(r));
          EXPECT_LE(std::abs(layout.num_tokens(r) * num_ranks - 2 * length), 4 * num_ranks) << "shares are nearly even";
          for (const int64_t i : mine) ++owners.at(static_cast<size_t>(i));
        }
        EXPECT_EQ(std::count(owners.begin(), owners.end(), 1), 2 * length);
      }
    }
  }
}

TEST(SequenceLayout, ZigzagEvensOutCausalWork) {
  const int num_ranks = 4;
  const SequenceLayout layout(LayoutType::kZigzag, num_ranks, 512, 1);
  std::vector<int64_t> pairs;
  for (int r = 0; r < num_ranks; ++r) {
    const TileMap tiles(Masking::kCausal, layout, r, {0});
    int64_t sum = 0;
    for (int owner = 0; owner < num_ranks; ++owner) sum += tiles.keys_of(owner).num_pairs();
    pairs.push_back(sum);
  }
  EXPECT_EQ(*std::min_element(pairs.begin(), pairs.end()), *std::max_element(pairs.begin(), pairs.end()));
  EXPECT_EQ(pairs[0] * num_ranks, 512 * 513 / 2);
}

// Before each compute, how many messages were posted and how many waited for.
struct Seen {
  int posted = 0, waited = 0;
};
std::vector<Seen> seen_at_computes(const CommLog& log) {
  std::vector<Seen> computes;
  Seen now;
  for (const CommRecord& r : log.records()) {
    now.posted += r.kind == CommRecord::Kind::kSendRecvPosted;
    now.waited += r.kind == CommRecord::Kind::kSendRecvWaited;
    if (r.kind == CommRecord::Kind::kMark) computes.push_back(now);
  }
  return computes;
}

TEST(RingAttention, PostsEachHopBeforeTheComputeThatHidesIt) {
  const int num_ranks = 4;
  const SequenceLayout layout(LayoutType::kZigzag, num_ranks, 64, 1);
  run_in_process(num_ranks, [&](Communicator& world) {
    const auto log = std::make_shared<CommLog>();
    const auto ring = make_recording_communicator(world, log);
    const Context plain = test::make_context(DType::kFloat64);
    Context context = test::marked_context(plain, log);
    const TileMap tiles(Masking::kCausal, layout, world.rank(), {0});
    const auto make = [&](const char* name) {
      return test::random_tensor(context, {layout.num_tokens(world.rank()), 2, 4}, DType::kFloat64, 1, name);
    };
    const RingAttention attention(*ring, 0.5);
    AttentionStash stash;
    log->clear();
    attention.forward(context, make("q"), make("k"), make("v"), tiles, &stash);
    const auto forward = seen_at_computes(*log);
    ASSERT_EQ(forward.size(), static_cast<size_t>(num_ranks)) << "under zigzag every rank computes at every hop";
    for (int hop = 0; hop < num_ranks; ++hop) {
      const Seen at = forward[static_cast<size_t>(hop)];
      EXPECT_EQ(at.posted, 2 * std::min(hop + 1, num_ranks - 1)) << "K and V of hop " << hop + 1 << " are under way";
      EXPECT_EQ(at.waited, 2 * hop) << "only what this compute needs was waited for";
    }
    log->clear();
    attention.backward(context, make("dy"), tiles, stash);
    const auto backward = seen_at_computes(*log);
    ASSERT_EQ(backward.size(), static_cast<size_t>(num_ranks));
    for (int hop = 0; hop < num_ranks; ++hop) {
      // Keys as in forward; the sums of dK and dV that were posted after each earlier compute are still under way while
      // this one runs, except for those of before that, which the one before had to take in.
      const Seen at = backward[static_cast<size_t>(hop)];
      EXPECT_EQ(at.posted, 2 * std::min(hop + 1, num_ranks - 1) + 2 * hop);
      EXPECT_EQ(at.waited, 2 * hop + 2 * std::max(0, hop - 1));
    }
  });
}

// Keys and values travel in the compute dtype, the sums of their gradients in the accumulator.
void expect_bytes(DType dtype) {
  const int num_ranks = 4;
  const int64_t length = 67, kv_heads = 2, head_dim = 4;
  const SequenceLayout layout(LayoutType::kZigzag, num_ranks, length, 1);
  run_in_process(num_ranks, [&](Communicator& world) {
    const auto log = std::make_shared<CommLog>();
    const auto ring = make_recording_communicator(world, log);
    Context context = test::make_context(dtype);
    const int rank = world.rank();
    const TileMap tiles(Masking::kCausal, layout, rank, {0});
    const auto make = [&](const char* name, int64_t heads) {
      return test::random_tensor(context, {layout.num_tokens(rank), heads, head_dim}, dtype, 1, name);
    };
    const auto shard_bytes = [&](int hop, DType of) {
      const int owner = (rank - hop + num_ranks) % num_ranks;
      return static_cast<size_t>(2 * layout.num_tokens(owner) * kv_heads * head_dim) * size_bytes(of);
    };
    const RingAttention attention(*ring, 0.5);
    AttentionStash stash;
    attention.forward(context, make("q", 4), make("k", kv_heads), make("v", kv_heads), tiles, &stash);
    size_t keys = 0, sums = 0;
    for (int hop = 1; hop < num_ranks; ++hop) keys += shard_bytes(hop, dtype);
    for (int hop = 1; hop <= num_ranks; ++hop) sums += shard_bytes(hop, accumulator(dtype));
    EXPECT_EQ(log->bytes_received(), keys);
    log->clear();
    attention.backward(context, make("dy", 4), tiles, stash);
    EXPECT_EQ(log->bytes_received(), keys + sums);
  });
}

TEST(RingAttention, MovesItsBytesAndNoMore) {
  for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kBFloat16}) {
    SCOPED_TRACE(name(dtype));
    expect_bytes(dtype);
  }
}

}  // namespace
}  // namespace longspan
