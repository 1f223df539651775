// Which rank has which place: by host, whatever the order in which ranks were dealt out.
#include "parallel/comm/mesh_map.h"

#include <gtest/gtest.h>

#include <set>

namespace longspan {
namespace {

std::vector<int> ranks_by_place(const MeshMap& map) {
  std::vector<int> ranks;
  for (int place = 0; place < map.num_ranks(); ++place) ranks.push_back(map.rank_at(place));
  return ranks;
}

TEST(MeshMap, IsTheOrderOfTheRanksWhereHostsFollowEachOther) {
  for (const auto& hosts : {std::vector<int>(8, 0), std::vector{7, 7, 7, 7, 3, 3, 3, 3}, std::vector{0, 0, 0, 1, 1, 1, 1, 1}}) {
    const MeshMap map({.data = 2, .context = 2, .tensor = 2}, hosts);
    EXPECT_TRUE(map.is_identity());
    for (int rank = 0; rank < 8; ++rank) {
      EXPECT_EQ(map.place_of(rank), rank);
      EXPECT_EQ(map.coordinates_at(rank), (Coordinates{0, rank / 4, rank / 2 % 2, rank % 2}));
    }
  }
}

TEST(MeshMap, GathersTheRanksOfAHostThatWereDealtInTurn) {
  const MeshMap map({.data = 2, .context = 2, .tensor = 2}, {5, 2, 5, 2, 5, 2, 5, 2});
  EXPECT_FALSE(map.is_identity());
  EXPECT_EQ(map.num_hosts(), 2);
  EXPECT_EQ(ranks_by_place(map), (std::vector{0, 2, 4, 6, 1, 3, 5, 7}));
  EXPECT_EQ(map.place_of(2), 1);
  EXPECT_EQ(map.coordinate_of(2, Axis::kTensor), 1);
  EXPECT_EQ(map.coordinate_of(1, Axis::kData), 1);
  EXPECT_EQ(map.rank_along(2, Axis::kTensor, 0), 0);
  EXPECT_EQ(map.rank_along(2, Axis::kContext, 1), 6);
  EXPECT_EQ(map.rank_along(2, Axis::kData, 1), 3);
  EXPECT_EQ(map.rank_along(2, Axis::kData, 0), 2);
  EXPECT_TRUE(map.stays_on_host(Axis::kTensor));
  EXPECT_TRUE(map.stays_on_host(Axis::kContext));
  EXPECT_FALSE(map.stays_on_host(Axis::kData));
  EXPECT_EQ(map.ranks_per_host(Axis::kData), 1);
}

TEST(MeshMap, UnevenHostsShareWhatTheyCan) {
  const std::vector<int> hosts = {0, 0, 0, 1, 1, 1, 1, 1};
  EXPECT_EQ(MeshMap({.context = 8}, hosts).ranks_per_host(Axis::kContext), 1) << "runs of 2 would cross at 2 | 3";
  EXPECT_EQ(MeshMap({.context = 4, .tensor = 2}, hosts).ranks_per_host(Axis::kTensor), 1);
  const MeshMap even({.context = 8}, {0, 0, 0, 0, 0, 0, 1, 1});
  EXPECT_EQ(even.ranks_per_host(Axis::kContext), 2);
  EXPECT_FALSE(even.stays_on_host(Axis::kContext));
}

TEST(MeshMap, CountsNeighboursOfAnAxisOnAHost) {
  const MeshMap map({.data = 2, .context = 4, .tensor = 2}, equal_hosts(16, 4));
  EXPECT_EQ(map.ranks_per_host(Axis::kTensor), 2);
  EXPECT_EQ(map.ranks_per_host(Axis::kContext), 2);
  EXPECT_EQ(map.ranks_per_host(Axis::kData), 1);
  EXPECT_EQ(map.ranks_per_host(Axis::kPipeline), 1);
  EXPECT_TRUE(map.stays_on_host(Axis::kPipeline)) << "one rank never leaves";
  EXPECT_EQ(MeshMap({.context = 6}, equal_hosts(6, 4)).ranks_per_host(Axis::kContext), 2);
}

TEST(MeshMap, EveryPlaceIsTakenOnce) {
  std::vector<int> hosts;
  for (int rank = 0; rank < 48; ++rank) hosts.push_back(rank * 7 % 5);
  const MeshMap map({.pipeline = 2, .data = 3, .context = 4, .tensor = 2}, hosts);
  std::set<Coordinates> seen;
  for (int rank = 0; rank < 48; ++rank) {
    EXPECT_EQ(map.rank_at(map.place_of(rank)), rank);
    seen.insert(map.coordinates_at(map.place_of(rank)));
  }
  EXPECT_EQ(seen.size(), 48u);
  for (int place = 1; place < 48; ++place) {
    EXPECT_LE(map.host_at(place - 1), map.host_at(place));
    const bool same = map.host_at(place - 1) == map.host_at(place);
    EXPECT_TRUE(!same || map.rank_at(place - 1) < map.rank_at(place));
  }
}

}  // namespace
}  // namespace longspan
