#include "parallel/comm/mesh_map.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "core/base/error.h"

namespace longspan {

MeshMap::MeshMap(const MeshShape& shape, const std::vector<int>& host_of_rank) : shape_(shape) {
  const size_t num_ranks = host_of_rank.size();
  check(shape.product() == static_cast<int64_t>(num_ranks), "mesh {} on {} ranks", shape.to_string(), num_ranks);
  std::map<int, int> number_of;  // of a host, by its first rank
  std::vector<int> host(num_ranks);
  for (size_t rank = 0; rank < num_ranks; ++rank) {
    host[rank] = number_of.try_emplace(host_of_rank[rank], static_cast<int>(number_of.size())).first->second;
  }
  num_hosts_ = static_cast<int>(number_of.size());
  rank_at_.resize(num_ranks);
  std::iota(rank_at_.begin(), rank_at_.end(), 0);
  std::stable_sort(rank_at_.begin(), rank_at_.end(),
                   [&](int a, int b) { return host[static_cast<size_t>(a)] < host[static_cast<size_t>(b)]; });
  place_of_.resize(num_ranks);
  for (size_t place = 0; place < num_ranks; ++place) {
    const auto rank = static_cast<size_t>(rank_at_[place]);
    place_of_[rank] = static_cast<int>(place);
    host_at_.push_back(host[rank]);
  }
}

Coordinates MeshMap::coordinates_at(int place) const {
  Coordinates coordinates{};
  for (size_t i = coordinates.size(); i-- > 0;) {
    coordinates[i] = place % shape_[kAxes[i]];
    place /= shape_[kAxes[i]];
  }
  return coordinates;
}

int MeshMap::rank_along(int rank, Axis axis, int coordinate) const {
  return rank_at(place_of(rank) + (coordinate - coordinate_of(rank, axis)) * stride(axis));
}

bool MeshMap::is_identity() const { return std::is_sorted(rank_at_.begin(), rank_at_.end()); }

int MeshMap::stride(Axis axis) const {
  int stride = 1;
  for (size_t i = std::size(kAxes); kAxes[--i] != axis;) stride *= shape_[kAxes[i]];
  return stride;
}

bool MeshMap::runs_share_hosts(Axis axis, int length) const {
  const int apart = stride(axis);
  for (int place = 0; place < num_ranks(); ++place) {
    const int along = place / apart % shape_[axis];
    if (host_at(place) != host_at(place - along % length * apart)) return false;
  }
  return true;
}

int MeshMap::ranks_per_host(Axis axis) const {
  int length = shape_[axis];
  while (shape_[axis] % length != 0 || !runs_share_hosts(axis, length)) --length;
  return length;
}

std::vector<int> equal_hosts(int num_ranks, int per_host) {
  check(num_ranks >= 1 && per_host >= 1, "{} ranks, {} on a host", num_ranks, per_host);
  std::vector<int> hosts(static_cast<size_t>(num_ranks));
  for (int rank = 0; rank < num_ranks; ++rank) hosts[static_cast<size_t>(rank)] = rank / per_host;
  return hosts;
}

}  // namespace longspan
