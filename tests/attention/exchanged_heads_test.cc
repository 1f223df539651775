// Heads are dealt out evenly, each once, in parts that the kernel takes; ranks know the key heads they need and no more.
#include "attention/exchanged_heads.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/core/expect_error.h"

namespace longspan {
namespace {

void expect_sound(int64_t num_heads, int64_t num_kv_heads, int num_ranks) {
  const ExchangedHeads split = exchanged_heads(num_heads, num_kv_heads, num_ranks);
  const int64_t group = num_heads / num_kv_heads;
  ASSERT_EQ(split.queries.size(), static_cast<size_t>(num_ranks));
  ASSERT_EQ(split.keys.size(), static_cast<size_t>(num_ranks));
  int64_t next = 0, least = num_heads, most = 0;
  std::vector<int> ranks_of_key(static_cast<size_t>(num_kv_heads), 0);
  for (size_t rank = 0; rank < split.queries.size(); ++rank) {
    ASSERT_EQ(split.queries[rank].size(), split.keys[rank].size());
    EXPECT_LE(split.queries[rank].size(), 3U);
    int64_t held = 0;
    for (size_t i = 0; i < split.queries[rank].size(); ++i) {
      const HeadRange q = split.queries[rank][i], k = split.keys[rank][i];
      EXPECT_EQ(q.begin, next) << "each head once, in order";
      next = q.end;
      held += q.size();
      ASSERT_GT(k.size(), 0);
      ASSERT_EQ(q.size() % k.size(), 0);
      for (int64_t h = 0; h < q.size(); ++h) EXPECT_EQ((q.begin + h) / group, k.begin + h / (q.size() / k.size()));
      for (int64_t h = k.begin; h < k.end; ++h) ++ranks_of_key.at(static_cast<size_t>(h));
    }
    least = std::min(least, held);
    most = std::max(most, held);
  }
  EXPECT_EQ(next, num_heads);
  EXPECT_LE(most - least, 1);
  EXPECT_EQ(split.replicated, *std::max_element(ranks_of_key.begin(), ranks_of_key.end()) > 1);
  if (num_kv_heads % num_ranks == 0) {
    EXPECT_FALSE(split.replicated);
  }
  if (num_heads % num_ranks == 0 && (num_kv_heads % num_ranks == 0 || num_ranks % num_kv_heads == 0)) {
    for (const auto& parts : split.queries) EXPECT_EQ(parts.size(), 1U) << "what divides needs one call of the kernel";
  }
}

TEST(ExchangedHeads, IsSoundForAnyHeadsAndRanks) {
  for (int64_t num_kv_heads = 1; num_kv_heads <= 9; ++num_kv_heads) {
    for (int64_t group = 1; group <= 8; ++group) {
      for (int num_ranks = 1; num_ranks <= std::min<int64_t>(17, num_kv_heads * group); ++num_ranks) {
        SCOPED_TRACE(fmt::format("{} heads, {} of keys, {} ranks", num_kv_heads * group, num_kv_heads, num_ranks));
        expect_sound(num_kv_heads * group, num_kv_heads, num_ranks);
      }
    }
  }
}

TEST(ExchangedHeads, RefusesMoreRanksThanHeads) {
  test::expect_error(ErrorKind::kConfiguration, {"9 ranks", "8 heads", "nearest degree that works is 8"},
                     [] { exchanged_heads(8, 2, 9); });
  test::expect_error(ErrorKind::kInternal, {"8 heads", "3"}, [] { exchanged_heads(8, 3, 2); });
}

}  // namespace
}  // namespace longspan
