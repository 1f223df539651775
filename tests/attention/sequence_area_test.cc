// Areas against counted pairs, and layouts that even them out.
#include "attention/sequence_area.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "tests/support/sequences.h"

namespace longspan {
namespace {

std::vector<double> counted(Masking masking, const SequenceLayout& layout, const std::vector<int64_t>& begins) {
  std::vector<double> areas;
  for (int rank = 0; rank < layout.num_ranks(); ++rank) {
    areas.push_back(static_cast<double>(TileMap(masking, layout, rank, begins).all_keys().visible.num_pairs()));
  }
  return areas;
}

TEST(SequenceArea, IsTheNumberOfVisiblePairs) {
  for (const auto type : {LayoutType::kContiguous, LayoutType::kZigzag, LayoutType::kStriped}) {
    for (const auto masking : {Masking::kCausal, Masking::kFull}) {
      for (const int64_t length : {0, 1, 5, 64, 97}) {
        for (const int num_ranks : {1, 3, 8}) {
          for (const int64_t num_documents : {1, 2, 9}) {
            const RandomStream random(static_cast<uint64_t>(length + num_documents), "documents");
            const auto begins = test::random_document_begins(random, length, num_documents);
            const SequenceLayout layout(type, num_ranks, length, 1);
            EXPECT_EQ(areas(masking, layout, begins), counted(masking, layout, begins)) << name(type) << " " << length;
          }
        }
      }
    }
  }
}

TEST(SequenceArea, ImbalanceIsTheLargestOverTheMean) {
  EXPECT_DOUBLE_EQ(imbalance({2, 2, 2}), 1);
  EXPECT_DOUBLE_EQ(imbalance({1, 3}), 1.5);
  EXPECT_DOUBLE_EQ(imbalance({0, 0}), 1);
  const SequenceLayout contiguous(LayoutType::kContiguous, 8, 4096, 1), zigzag(LayoutType::kZigzag, 8, 4096, 1);
  EXPECT_NEAR(imbalance(areas(Masking::kCausal, contiguous, {0})), 1.875, 1e-3);  // 15 / 8
  EXPECT_DOUBLE_EQ(imbalance(areas(Masking::kCausal, zigzag, {0})), 1);
}

// More pairs than 64 bits count.
TEST(SequenceArea, DoesNotOverflow) {
  constexpr int64_t kLength = int64_t{1} << 33;
  for (const auto type : {LayoutType::kContiguous, LayoutType::kZigzag, LayoutType::kStriped, LayoutType::kArea}) {
    const std::vector<double> found = areas(Masking::kCausal, lay_out(type, 2, {.sequence_length = kLength}, {0}), {0});
    EXPECT_NEAR((found[0] + found[1]) / 0x1p65, 1, 1e-9) << name(type);
    EXPECT_NEAR(imbalance(found), type == LayoutType::kContiguous ? 1.5 : 1, 1e-6) << name(type);
  }
}

TEST(SequenceArea, ALayoutByAreaHoldsEveryTokenOnceAndNearlyEvenShares) {
  for (const int64_t length : {0, 1, 7, 40, 1000}) {
    for (const int num_ranks : {1, 2, 5, 8}) {
      const RandomStream random(static_cast<uint64_t>(length + num_ranks), "documents");
      const auto begins = test::random_document_begins(random, length, 6);
      const AreaOptions options = {.num_ranks = num_ranks, .chunks_per_rank = 6};
      const SequenceLayout layout = layout_by_area(options, length, begins), again = layout_by_area(options, length, begins);
      std::vector<int64_t> all, tokens;
      for (int rank = 0; rank < num_ranks; ++rank) {
        EXPECT_EQ(layout.ranges(rank), again.ranges(rank)) << "every rank finds the same layout";
        const auto mine = indices(layout.ranges(rank));
        EXPECT_TRUE(std::is_sorted(mine.begin(), mine.end()));
        all.insert(all.end(), mine.begin(), mine.end());
        tokens.push_back(layout.num_tokens(rank));
      }
      const auto [least, most] = std::minmax_element(tokens.begin(), tokens.end());
      EXPECT_LE(*most - *least, 6) << "as many as there are chunks";
      std::sort(all.begin(), all.end());
      std::vector<int64_t> expected(static_cast<size_t>(length));
      std::iota(expected.begin(), expected.end(), 0);
      EXPECT_EQ(all, expected);
      EXPECT_EQ(layout.total_tokens(), length);
    }
  }
}

// One long document and many short ones: zigzag gives the ranks with the long one's chunks most of the work.
TEST(SequenceArea, ALayoutByAreaEvensOutDocuments) {
  std::vector<int64_t> begins = {0};
  for (int64_t at = 40000; at < 65536; at += 500) begins.push_back(at);
  const SequenceLayout zigzag(LayoutType::kZigzag, 8, 65536, 1);
  const SequenceLayout by_area = layout_by_area({.num_ranks = 8, .chunks_per_rank = 16}, 65536, begins);
  const SequenceLayout of_a_run = lay_out(LayoutType::kArea, 8, {.sequence_length = 65536}, begins);
  EXPECT_GT(imbalance(areas(Masking::kCausal, zigzag, begins)), 2.6);
  EXPECT_LT(imbalance(areas(Masking::kCausal, of_a_run, begins)), 1.04);
  EXPECT_LT(imbalance(areas(Masking::kCausal, by_area, begins)), 1.01);
}

// Of 64 ranks one alone would get more than its share with a 512th part of the tokens.
TEST(SequenceArea, ChunksAreAsSmallAsDocumentsNeed) {
  constexpr int64_t kTokens = 1 << 20;
  std::vector<int64_t> begins = {0};
  for (int64_t at = 131072; at < kTokens; at += 2000) begins.push_back(at);
  const auto uneven = [&](int chunks) {
    const SequenceLayout layout = layout_by_area({.num_ranks = 64, .chunks_per_rank = chunks}, kTokens, begins);
    return imbalance(areas(Masking::kCausal, layout, begins));
  };
  EXPECT_GT(uneven(8), 1.5);
  EXPECT_LT(uneven(0), 1.02);
  EXPECT_EQ(layout_by_area({.num_ranks = 64}, kTokens, {0}).ranges(0).size(), 8u) << "one document needs no more";
}

}  // namespace
}  // namespace longspan
