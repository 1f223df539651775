// Placements: which blocks a rank holds, by their costs.
#include "parallel/pipeline/placement.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "tests/parallel/comm_support.h"

namespace longspan {
namespace {

double largest_run(const std::vector<double>& costs, const std::vector<int>& bounds) {
  double largest = 0;
  for (size_t part = 0; part + 1 < bounds.size(); ++part) {
    largest = std::max(largest, std::accumulate(costs.begin() + bounds[part], costs.begin() + bounds[part + 1], 0.0));
  }
  return largest;
}

// By trying all cuts.
double least_largest_run(const std::vector<double>& costs, int num_parts) {
  const int n = static_cast<int>(costs.size());
  double best = 1e300;
  std::vector<int> cut(static_cast<size_t>(n - 1), 0);  // whether a run ends after block i
  std::fill(cut.begin(), cut.begin() + num_parts - 1, 1);
  do {
    std::vector<int> bounds = {0};
    for (int i = 0; i + 1 < n; ++i) {
      if (cut[static_cast<size_t>(i)]) bounds.push_back(i + 1);
    }
    bounds.push_back(n);
    best = std::min(best, largest_run(costs, bounds));
  } while (std::prev_permutation(cut.begin(), cut.end()));
  return best;
}

TEST(Placement, TheCostliestRunIsAsCheapAsCanBe) {
  const std::vector<std::vector<double>> chains = {{1, 1, 1, 1, 1, 1, 1, 1},
                                                   {0.2, 1, 1, 1, 1, 1, 1, 4.5},
                                                   {3, 1, 4, 1, 5, 9, 2, 6, 5},
                                                   {0, 0, 7, 0, 0, 0},
                                                   {2.5, 1, 1, 1, 1}};
  for (const auto& costs : chains) {
    for (int parts = 1; parts <= static_cast<int>(costs.size()); ++parts) {
      const std::vector<int> bounds = split_chain(costs, parts);
      ASSERT_EQ(bounds.size(), static_cast<size_t>(parts) + 1);
      EXPECT_EQ(bounds.front(), 0);
      EXPECT_EQ(bounds.back(), static_cast<int>(costs.size()));
      EXPECT_TRUE(std::is_sorted(bounds.begin(), bounds.end(), std::less_equal<>())) << "a run is empty";
      EXPECT_DOUBLE_EQ(largest_run(costs, bounds), least_largest_run(costs, parts));
    }
  }
}

TEST(Placement, EvenWhereTheCostliestRunLeavesAChoice) {
  EXPECT_EQ(split_chain({9, 1, 1, 1, 1, 1, 1}, 3), (std::vector<int>{0, 1, 4, 7}));
}

TEST(Placement, HeadAndEmbeddingAreBalancedAgainstLayers) {
  // 8 layers, a cheap embedding, and a head worth three layers.
  const Placement placement = place_blocks({0.1, 1, 1, 1, 1, 1, 1, 1, 1, 3}, 4);
  EXPECT_EQ(placement.blocks_of(3), (std::vector<int>{9}));
  EXPECT_EQ(placement.blocks_of(0).front(), 0);
  EXPECT_EQ(placement.num_blocks(), 10);
}

TEST(Placement, ChunksAreDealtInTurnOrInAV) {
  const std::vector<double> costs(8, 1.0);
  const Placement turns = place_blocks(costs, 2, 2);
  EXPECT_EQ(turns.chunks, (std::vector<PlacedChunk>{{0, 0, 2}, {1, 2, 4}, {0, 4, 6}, {1, 6, 8}}));
  EXPECT_EQ(turns.blocks_of(1), (std::vector<int>{2, 3, 6, 7}));
  EXPECT_EQ(turns.chunks_per_rank(), 2);
  const Placement v = place_blocks(costs, 2, 2, ChunkOrder::kVShape);
  EXPECT_EQ(v.chunks, (std::vector<PlacedChunk>{{0, 0, 2}, {1, 2, 4}, {1, 4, 6}, {0, 6, 8}}));
  EXPECT_EQ(v.rank_of(7), 0);
  EXPECT_EQ(v.chunk_of(4), 2);
}

TEST(Placement, RefusesWhatBlocksDoNotFill) {
  const std::vector<double> costs(6, 1.0);
  EXPECT_TRUE(test::contains(test::message_of<Error>([&] { place_blocks(costs, 2, 4); }), "use 3 chunks or fewer"));
  EXPECT_TRUE(test::contains(test::message_of<Error>([&] { place_blocks(costs, 8); }), "use 6 or fewer"));
  EXPECT_TRUE(test::contains(test::message_of<Error>([&] { place_blocks(costs, 2, 3, ChunkOrder::kVShape); }), "use 2"));
}

}  // namespace
}  // namespace longspan
