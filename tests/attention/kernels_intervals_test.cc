// Index ranges and key intervals against brute force.
#include <gtest/gtest.h>

#include <algorithm>

#include "attention/kernels/key_intervals.h"
#include "core/base/error.h"
#include "core/base/random.h"

namespace longspan {
namespace {

class Draw {
 public:
  explicit Draw(uint64_t seed) : random_(seed, "intervals") {}
  int64_t below(int64_t bound) { return static_cast<int64_t>(random_.below(count_++, static_cast<uint64_t>(bound))); }
  IndexRanges ranges() {
    IndexRanges all;
    int64_t next = below(5);
    for (int64_t r = below(4); r > 0; --r) {
      const IndexRange range = {.start = next, .stride = 1 + below(4), .length = below(9)};
      all.push_back(range);
      next = (range.length > 0 ? range[range.length - 1] + 1 : range.start) + below(6);
    }
    return all;
  }

 private:
  RandomStream random_;
  uint64_t count_ = 0;
};

TEST(IndexRange, MatchesBruteForce) {
  Draw draw(1);
  for (int repeat = 0; repeat < 200; ++repeat) {
    const IndexRanges ranges = draw.ranges();
    const auto all = indices(ranges);
    ASSERT_EQ(num_tokens(ranges), static_cast<int64_t>(all.size()));
    EXPECT_TRUE(std::is_sorted(all.begin(), all.end()));
  }
}

TEST(KeyIntervals, MatchBruteForce) {
  Draw draw(2);
  for (int repeat = 0; repeat < 200; ++repeat) {
    const IndexRanges keys = draw.ranges();
    std::vector<IndexInterval> intervals;
    for (int64_t q = draw.below(70); q > 0; --q) intervals.push_back({draw.below(60), draw.below(60)});
    const KeyIntervals got(intervals, keys);
    const auto all = indices(keys);
    for (size_t q = 0; q < intervals.size(); ++q) {
      const auto& tile = got.tiles()[q / 32];
      for (size_t slot = 0; slot < all.size(); ++slot) {
        const auto s = static_cast<int32_t>(slot);
        const bool sees = all[slot] >= intervals[q].begin && all[slot] < intervals[q].end;
        EXPECT_EQ(s >= got.begin()[q] && s < got.end()[q], sees);
        EXPECT_TRUE(!sees || (s >= tile.any_begin && s < tile.any_end));
        EXPECT_TRUE(sees || s < tile.all_begin || s >= tile.all_end);
      }
    }
  }
}

TEST(KeyIntervals, CountPairsBeyond32Bits) {
  const int64_t num_keys = int64_t{1} << 30, far = int64_t{1} << 40;
  const std::vector<IndexInterval> intervals(9, {far, far + num_keys});
  const KeyIntervals got(intervals, {{.start = far, .stride = 1, .length = num_keys}});
  EXPECT_EQ(got.num_pairs(), 9 * num_keys);
  EXPECT_FALSE(got.empty());
  EXPECT_TRUE(KeyIntervals({}, {}).empty());
}

TEST(KeyIntervals, RefuseWhatSlotsCannotName) {
  const int64_t too_many = int64_t{1} << 31;
  EXPECT_THROW(KeyIntervals({}, {{.start = 0, .stride = 1, .length = too_many}}), Error);
  EXPECT_THROW(KeyIntervals({}, {{.start = 8, .stride = 1, .length = 4}, {.start = 0, .stride = 1, .length = 4}}), Error);
  EXPECT_THROW(KeyIntervals({}, {{.start = 0, .stride = 0, .length = 4}}), Error);
}

}  // namespace
}  // namespace longspan
