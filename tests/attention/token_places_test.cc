// Shares of any layout put together: every slot is one token's, in order of index; and maps of groups of ranks.
#include "attention/token_places.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "attention/tile_map.h"

namespace longspan {
namespace {

void expect_merged(const std::vector<IndexRanges>& shares) {
  const MergedShares merged = merge(shares);
  const auto all = indices(merged.ranges);
  EXPECT_TRUE(std::is_sorted(all.begin(), all.end()));
  ASSERT_EQ(merged.places.size(), shares.size());
  size_t count = 0;
  for (size_t s = 0; s < shares.size(); ++s) {
    const auto mine = indices(shares[s]), places = indices(merged.places[s]);
    ASSERT_EQ(mine.size(), places.size());
    for (size_t i = 0; i < mine.size(); ++i) EXPECT_EQ(all.at(static_cast<size_t>(places[i])), mine[i]);
    count += mine.size();
  }
  EXPECT_EQ(count, all.size());
}

TEST(TokenPlaces, SharesOfNeighboursAreMerged) {
  for (const auto type : {LayoutType::kContiguous, LayoutType::kZigzag, LayoutType::kStriped}) {
    for (const int64_t length : {0, 1, 3, 8, 29, 64}) {
      for (const int num_ranks : {1, 2, 3, 6, 8}) {
        const SequenceLayout layout(type, num_ranks, length, 2);
        std::vector<IndexRanges> shares;
        for (int rank = 0; rank < num_ranks; ++rank) shares.push_back(layout.ranges(rank));
        for (size_t begin = 0; begin < shares.size(); ++begin) {
          for (size_t end = begin + 1; end <= shares.size(); ++end) {
            SCOPED_TRACE(fmt::format("{} x {}, ranks [{}, {}) of {}", name(type), length, begin, end, num_ranks));
            expect_merged({shares.begin() + static_cast<int64_t>(begin), shares.begin() + static_cast<int64_t>(end)});
          }
        }
      }
    }
  }
}

// Copies are as many as there are ranges, so long sequences must not fall apart into tokens.
TEST(TokenPlaces, AWholeSequenceIsFewRanges) {
  for (const auto type : {LayoutType::kContiguous, LayoutType::kZigzag, LayoutType::kStriped}) {
    const SequenceLayout layout(type, 8, 1000, 1);
    std::vector<IndexRanges> shares;
    for (int rank = 0; rank < 8; ++rank) shares.push_back(layout.ranges(rank));
    const MergedShares all = merge(shares);
    EXPECT_EQ(all.ranges, (IndexRanges{{.start = 0, .stride = 1, .length = 1000}}));
    for (const IndexRanges& places : all.places) EXPECT_LE(places.size(), 2U);
    for (const IndexRanges& places : merge(std::span(shares).first(4)).places) EXPECT_LE(places.size(), 2U) << name(type);
  }
}

TEST(TokenPlaces, RowsGoThereAndBack) {
  const Context context({});
  const IndexRanges places = {{.start = 1, .stride = 3, .length = 3}, {.start = 8, .stride = 1, .length = 2}};
  const Tensor rows = context.empty({5, 2}, DType::kInt64), all = context.zeros({11, 2}, DType::kInt64);
  std::iota(rows.data<int64_t>(), rows.data<int64_t>() + 10, 100);
  place_rows(context, rows, places, all);
  const auto slots = indices(places);
  for (int64_t slot = 0; slot < 11; ++slot) {
    const auto at = std::find(slots.begin(), slots.end(), slot);
    const int64_t want = at == slots.end() ? 0 : 100 + 2 * (at - slots.begin()) + 1;
    EXPECT_EQ(all.data<int64_t>()[2 * slot + 1], want) << slot;
  }
  const Tensor back = context.zeros({5, 2}, DType::kInt64);
  take_rows(context, all, places, back);
  for (int64_t i = 0; i < 10; ++i) EXPECT_EQ(back.data<int64_t>()[i], 100 + i);
}

// What a group's queries see of a group's keys is the sum of what its ranks' see of its ranks'.
TEST(TileMap, GroupsSeeWhatTheirRanksSee) {
  const int num_ranks = 6;
  const std::vector<int64_t> documents = {0, 5, 6, 40, 71};
  for (const auto type : {LayoutType::kContiguous, LayoutType::kZigzag, LayoutType::kStriped}) {
    const SequenceLayout layout(type, num_ranks, 101, 1);
    std::vector<TileMap> maps;
    for (int rank = 0; rank < num_ranks; ++rank) maps.emplace_back(Masking::kCausal, layout, rank, documents);
    for (const int size : {1, 2, 3, 6}) {
      for (int group = 0; group < num_ranks / size; ++group) {
        const TileMap& tiles = maps[static_cast<size_t>(group * size)].grouped(size).tiles;
        ASSERT_EQ(tiles.num_ranks(), num_ranks / size);
        for (int owner = 0; owner < tiles.num_ranks(); ++owner) {
          int64_t pairs = 0;
          for (int q = group * size; q < (group + 1) * size; ++q) {
            for (int k = owner * size; k < (owner + 1) * size; ++k) {
              pairs += maps[static_cast<size_t>(q)].keys_of(k).num_pairs();
            }
          }
          EXPECT_EQ(tiles.keys_of(owner).num_pairs(), pairs);
        }
      }
    }
    for (const TileMap& map : maps) {
      int64_t pairs = 0;
      for (int owner = 0; owner < num_ranks; ++owner) pairs += map.keys_of(owner).num_pairs();
      EXPECT_EQ(map.all_keys().visible.num_pairs(), pairs);
      EXPECT_EQ(map.all_keys().visible.num_keys(), 101);
    }
  }
}

}  // namespace
}  // namespace longspan
