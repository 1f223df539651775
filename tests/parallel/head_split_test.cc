// How heads are shared: every query head once, each with its key head, in groups that the kernel can take.
#include "parallel/tensor/head_split.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/core/expect_error.h"

namespace longspan {
namespace {

void expect_split(int64_t num_heads, int64_t num_kv_heads, int num_ranks) {
  SCOPED_TRACE(fmt::format("{} heads, {} key heads, {} ranks", num_heads, num_kv_heads, num_ranks));
  const int64_t group = num_heads / num_kv_heads;
  std::vector<int> holders(static_cast<size_t>(num_kv_heads), 0);
  int64_t next_q = 0, next_counted = 0;
  for (int rank = 0; rank < num_ranks; ++rank) {
    const HeadSplit split = split_heads(num_heads, num_kv_heads, num_ranks, rank);
    EXPECT_EQ(split.q.begin, next_q);
    EXPECT_GT(split.q.size(), 0);
    EXPECT_LE(std::abs(split.q.size() * num_ranks - num_heads), num_ranks);
    next_q = split.q.end;
    const auto seen = static_cast<int64_t>(split.kv_of.size());
    ASSERT_EQ(split.q.size() % seen, 0);
    std::set<int64_t> used;
    for (int64_t q = 0; q < split.q.size(); ++q) {
      const int64_t kv = split.kv.begin + split.kv_of[static_cast<size_t>(q / (split.q.size() / seen))];
      EXPECT_EQ(kv, (split.q.begin + q) / group) << "query head " << q << " of rank " << rank;
      used.insert(kv);
    }
    EXPECT_EQ(static_cast<int64_t>(used.size()), split.kv.size());
    for (const int64_t kv : used) ++holders[static_cast<size_t>(kv)];
    EXPECT_EQ(split.counted_kv.begin, next_counted);
    EXPECT_EQ(split.counted_kv.end, split.kv.end);
    next_counted = split.counted_kv.end;
    if (num_kv_heads % num_ranks == 0 || num_kv_heads == 1 || num_kv_heads == num_heads) {
      EXPECT_FALSE(split.repeats());
    }
  }
  EXPECT_EQ(next_q, num_heads);
  EXPECT_EQ(next_counted, num_kv_heads);
  std::vector<bool> shared(static_cast<size_t>(num_kv_heads), false);
  int64_t before = -1;
  for (const TensorPiece& run : shared_kv_heads(num_heads, num_kv_heads, num_ranks)) {
    EXPECT_GT(run.begin, before) << "neighbours that are no one run";
    before = run.end;
    for (int64_t kv = run.begin; kv < run.end; ++kv) shared[static_cast<size_t>(kv)] = true;
  }
  for (size_t kv = 0; kv < shared.size(); ++kv) EXPECT_EQ(shared[kv], holders[kv] > 1) << "key head " << kv;
}

TEST(HeadSplit, OfEveryNumberOfHeads) {
  for (int64_t num_heads = 1; num_heads <= 12; ++num_heads) {
    for (int64_t num_kv_heads = 1; num_kv_heads <= num_heads; ++num_kv_heads) {
      if (num_heads % num_kv_heads != 0) continue;
      for (int num_ranks = 1; num_ranks <= std::min<int64_t>(8, num_heads); ++num_ranks) {
        expect_split(num_heads, num_kv_heads, num_ranks);
      }
    }
  }
}

TEST(HeadSplit, RepeatsAsFewHeadsAsServe) {
  // Rank 1 of 3 has query heads 4 to 7 of twelve in groups of six: two of head 0, two of head 1.
  EXPECT_EQ(split_heads(12, 2, 3, 1).kv_of, (std::vector<int64_t>{0, 1}));
  // Of nine heads in groups of three, rank 0 of 2 has four: three of head 0, one of head 1.
  EXPECT_EQ(split_heads(9, 3, 2, 0).kv_of, (std::vector<int64_t>{0, 0, 0, 1}));
  // Of ten heads in groups of two, rank 1 of 2 has one of head 2, two of head 3, two of head 4.
  EXPECT_EQ(split_heads(10, 5, 2, 1).kv_of, (std::vector<int64_t>{0, 1, 1, 2, 2}));
}

TEST(HeadSplit, RefusesMoreRanksThanHeads) {
  test::expect_error(ErrorKind::kConfiguration, {"5 ranks", "cannot share 4 heads; 4 can"}, [] { split_heads(4, 2, 5, 0); });
}

TEST(Pieces, CoverAllRowsInOrder) {
  for (int64_t count = 0; count <= 20; ++count) {
    for (int num_ranks = 1; num_ranks <= 8; ++num_ranks) {
      int64_t next = 0;
      for (const TensorPiece& piece : tensor_pieces_of(count, num_ranks)) {
        EXPECT_EQ(piece.begin, next);
        EXPECT_TRUE(piece.size() == count / num_ranks || piece.size() == count / num_ranks + 1) << piece.size();
        next = piece.end;
      }
      EXPECT_EQ(next, count);
    }
  }
}

}  // namespace
}  // namespace longspan
