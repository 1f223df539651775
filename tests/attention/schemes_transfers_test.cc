// What each scheme moves, to the byte, and what is under way while a rank computes.
#include <gtest/gtest.h>

#include "tests/attention/sequence_case.h"
#include "tests/support/marked_attention.h"

namespace longspan {
namespace {

using Kind = CommRecord::Kind;
using Options = ContextSchemeOptions;
using test::SequenceCase;

// What the formulas are made of.
struct Shares {
  SequenceCase c;
  int num_ranks;
  DType dtype;

  size_t tokens(int rank) const {
    return static_cast<size_t>(SequenceLayout(c.layout, num_ranks, c.length, c.num_sequences).num_tokens(rank));
  }
  size_t others(int rank) const { return static_cast<size_t>(c.length * c.num_sequences) - tokens(rank); }
  size_t heads() const { return static_cast<size_t>(c.num_heads); }
  size_t kv_heads() const { return static_cast<size_t>(c.num_kv_heads); }
  size_t row() const { return static_cast<size_t>(c.head_dim) * size_bytes(dtype); }  // of a head
  size_t sum_row() const { return static_cast<size_t>(c.head_dim) * size_bytes(accumulator(dtype)); }
};

struct Moved {
  size_t forward = 0, backward = 0;
};
using Formula = std::function<Moved(const Shares& shares, int rank)>;

// Runs the case, and holds every rank's bytes received to the formula, and its calls to send_recvs alone.
void expect_moved(const Shares& shares, const Options& options, const Formula& formula) {
  SCOPED_TRACE(fmt::format("{} of {}, {}, {}", name(options.scheme), options.inner, name(shares.dtype), shares.c.to_string()));
  run_in_process(shares.num_ranks, [&](Communicator& world) {
    const auto log = std::make_shared<CommLog>();
    const auto ranks = make_recording_communicator(world, log);
    Context context = test::make_context(shares.dtype);
    const auto attention = make_sequence_attention(*ranks, options);
    const auto mine = test::make_share(context, shares.c, world.rank(), shares.num_ranks, 1,
                                       {.dtype = shares.dtype, .drawn = shares.dtype});
    const Moved want = formula(shares, world.rank());
    AttentionStash stash;
    log->clear();
    attention->forward(context, mine.q, mine.k, mine.v, mine.tiles, &stash);
    EXPECT_EQ(log->bytes_received(), want.forward) << "forward, rank " << world.rank();
    log->clear();
    attention->backward(context, mine.doutput, mine.tiles, stash);
    EXPECT_EQ(log->bytes_received(), want.backward) << "backward, rank " << world.rank();
    for (const CommRecord& record : log->records()) {
      EXPECT_TRUE(record.kind == Kind::kSendRecvPosted || record.kind == Kind::kSendRecvWaited);
    }
  });
}

const SequenceCase kUneven = {LayoutType::kZigzag, Masking::kCausal, 67, 1, 1, 8, 4, 4};

// A rank gets the others' tokens of its heads, and its tokens of the others' heads.
Moved all_to_all(const Shares& s, int rank) {
  const auto p = static_cast<size_t>(s.num_ranks);
  const size_t keys = std::max<size_t>(1, s.kv_heads() / p);  // of a rank
  const size_t in = s.others(rank) * s.row(), out = s.tokens(rank) * (p - 1);
  const size_t sum_row = s.kv_heads() < p ? s.sum_row() : s.row();
  return {.forward = in * (s.heads() / p + 2 * keys) + out * s.heads() / p * s.row(),
          .backward = in * s.heads() / p + out * (s.heads() / p * s.row() + 2 * keys * sum_row)};
}

TEST(SchemeTransfers, AllToAllMovesItsBytesAndNoMore) {
  for (const DType dtype : {DType::kFloat64, DType::kBFloat16}) {
    for (const int num_ranks : {2, 4, 8}) {  // on 8 ranks, two have each key head
      expect_moved({kUneven, num_ranks, dtype}, {.scheme = ContextScheme::kAllToAll}, all_to_all);
    }
  }
}

TEST(SchemeTransfers, AllGatherMovesItsBytesAndNoMore) {
  for (const DType dtype : {DType::kFloat64, DType::kBFloat16}) {
    for (const int64_t at_once : {1, 3, 4}) {
      expect_moved({kUneven, 4, dtype}, {.scheme = ContextScheme::kAllGather, .kv_heads_at_once = at_once},
                   [](const Shares& s, int rank) {
                     const size_t keys = 2 * s.others(rank) * s.kv_heads() * s.row();
                     return Moved{.forward = keys, .backward = keys + 2 * 3 * s.tokens(rank) * s.kv_heads() * s.sum_row()};
                   });
    }
  }
}

// Bytes in a group's all-to-all, and in a ring of groups' tokens with a part of the heads; for equal shares.
TEST(SchemeTransfers, HybridMovesItsBytesAndNoMore) {
  const SequenceCase even = {LayoutType::kZigzag, Masking::kCausal, 64, 1, 1, 8, 4, 4};
  for (const DType dtype : {DType::kFloat64, DType::kBFloat16}) {
    for (const int inner : {2, 4}) {
      expect_moved({even, 8, dtype}, {.scheme = ContextScheme::kHybrid, .inner = inner},
                   [inner](const Shares& s, int rank) {
                     const auto u = static_cast<size_t>(inner), windows = 8 / u, n = s.tokens(rank);
                     const size_t queries = (u - 1) * n * s.heads() / u * s.row();
                     const size_t keys = 2 * (u - 1) * n * s.kv_heads() / u * s.row();
                     const size_t block = 2 * u * n * s.kv_heads() / u;  // what a hop brings
                     return Moved{.forward = 2 * queries + keys + (windows - 1) * block * s.row(),
                                  .backward = 2 * queries + keys + (windows - 1) * block * s.row() +
                                              windows * block * s.sum_row()};
                   });
    }
  }
}

TEST(SchemeTransfers, DoubleRingMovesItsBytesAndNoMore) {
  const SequenceCase even = {LayoutType::kZigzag, Masking::kCausal, 64, 1, 1, 4, 2, 4};
  for (const int inner : {2, 4}) {
    expect_moved({even, 8, DType::kBFloat16}, {.scheme = ContextScheme::kDoubleRing, .inner = inner},
                 [inner](const Shares& s, int rank) {
                   const size_t block = 2 * s.tokens(rank) * s.kv_heads(), windows = 8 / static_cast<size_t>(inner);
                   return Moved{.forward = 7 * block * s.row(),
                                .backward = 7 * block * s.row() + (8 + windows) * block * s.sum_row()};
                 });
  }
}

// The same count by group: what crosses between windows is P / w - 1 transfers of keys.
TEST(SchemeTransfers, ADoubleRingSendsFewTransfersAcross) {
  const SequenceCase c = {LayoutType::kZigzag, Masking::kCausal, 64, 1, 1, 4, 2, 4};
  run_in_process(8, [&](Communicator& world) {
    const auto log = std::make_shared<CommLog>();
    const auto ranks = make_recording_communicator(world, log);
    Context context = test::make_context(DType::kFloat64);
    const auto attention = make_sequence_attention(*ranks, {.scheme = ContextScheme::kDoubleRing, .inner = 4});
    const auto mine = test::make_share(context, c, world.rank(), 8, 1);
    attention->forward(context, mine.q, mine.k, mine.v, mine.tiles, nullptr);
    int inside = 0, across = 0;
    for (const CommRecord& r : log->records()) {
      if (r.kind != Kind::kSendRecvPosted) continue;
      (r.what == "world inside" ? inside : across) += 1;
    }
    EXPECT_EQ(across, 2 * 1);
    EXPECT_EQ(inside, 2 * 2 * 3);
  });
}

struct Event {
  int posted = 0, waited = 0;
};

// Before each compute, how many messages were posted and waited for.
std::vector<Event> at_computes(const SequenceCase& c, int num_ranks, Communicator& world, const Options& options,
                               bool backward) {
  const auto log = std::make_shared<CommLog>();
  const auto ranks = make_recording_communicator(world, log);
  const Context plain = test::make_context(DType::kFloat64);
  Context context = test::marked_context(plain, log);
  const auto attention = make_sequence_attention(*ranks, options);
  const auto mine = test::make_share(context, c, world.rank(), num_ranks, 1);
  AttentionStash stash;
  log->clear();
  attention->forward(context, mine.q, mine.k, mine.v, mine.tiles, &stash);
  if (backward) {
    log->clear();
    attention->backward(context, mine.doutput, mine.tiles, stash);
  }
  std::vector<Event> events;
  Event now;
  for (const CommRecord& r : log->records()) {
    now.posted += r.kind == Kind::kSendRecvPosted;
    now.waited += r.kind == Kind::kSendRecvWaited;
    if (r.kind == Kind::kMark) events.push_back(now);
  }
  events.push_back(now);
  return events;
}

TEST(SchemeTransfers, AllMessagesOfAnAllToAllArePostedBeforeTheFirstIsWaitedFor) {
  run_in_process(4, [&](Communicator& world) {
    const auto log = std::make_shared<CommLog>();
    const auto ranks = make_recording_communicator(world, log);
    Context context = test::make_context(DType::kFloat64);
    const auto attention = make_sequence_attention(*ranks, {.scheme = ContextScheme::kAllToAll});
    const auto mine = test::make_share(context, kUneven, world.rank(), 4, 1);
    attention->forward(context, mine.q, mine.k, mine.v, mine.tiles, nullptr);
    int posted = 0;
    for (const CommRecord& r : log->records()) {
      if (r.kind == Kind::kSendRecvWaited) break;
      posted += r.kind == Kind::kSendRecvPosted;
    }
    EXPECT_EQ(posted, 3 * 3) << "q, k and v to each of three";
  });
}

TEST(SchemeTransfers, TheNextSetOfHeadsIsUnderWayWhileOneIsComputed) {
  run_in_process(4, [&](Communicator& world) {
    const Options options = {.scheme = ContextScheme::kAllGather, .kv_heads_at_once = 1};
    const auto forward = at_computes(kUneven, 4, world, options, false);
    ASSERT_EQ(forward.size(), 4U + 1) << "a call of the kernel for each key head";
    for (int set = 0; set < 4; ++set) {
      EXPECT_EQ(forward[static_cast<size_t>(set)].posted, 6 * std::min(set + 2, 4));
      EXPECT_EQ(forward[static_cast<size_t>(set)].waited, 6 * (set + 1));
    }
    // In backward the sums of the set before are under way, too; those before that had to be taken in.
    const auto backward = at_computes(kUneven, 4, world, options, true);
    for (int set = 0; set < 4; ++set) {
      EXPECT_EQ(backward[static_cast<size_t>(set)].posted, 6 * std::min(set + 2, 4) + 6 * set);
      EXPECT_EQ(backward[static_cast<size_t>(set)].waited, 6 * (set + 1) + 6 * std::max(0, set - 1));
    }
  });
}

TEST(SchemeTransfers, ATransferAcrossIsUnderWayDuringAllHopsOfAWindow) {
  const SequenceCase c = {LayoutType::kZigzag, Masking::kFull, 64, 1, 1, 4, 2, 4};
  run_in_process(8, [&](Communicator& world) {
    const auto forward = at_computes(c, 8, world, {.scheme = ContextScheme::kDoubleRing, .inner = 4}, false);
    ASSERT_EQ(forward.size(), 8U + 1);
    for (int hop = 0; hop < 4; ++hop) {
      EXPECT_EQ(forward[static_cast<size_t>(hop)].posted, 2 + 2 * std::min(hop + 1, 3)) << "one transfer across first";
      EXPECT_EQ(forward[static_cast<size_t>(hop)].waited, 2 * hop) << "which no hop of this window waits for";
    }
  });
}

}  // namespace
}  // namespace longspan
