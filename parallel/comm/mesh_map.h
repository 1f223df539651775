// MeshMap: which rank has which place of a mesh. Places are row-major (pipeline, data, context, tensor), tensor fastest, and
// given to the ranks host by host, those of a host in their order: neighbours along the busiest axes share a host then, however
// the ranks were dealt out. Hosts are in the order of their first ranks, so rank 0 has place 0, and where the ranks of each host
// follow each other every rank has the place of its own number. Pure; the same on every rank.
#pragma once

#include <array>
#include <vector>

#include "parallel/comm/mesh_shape.h"

namespace longspan {

using Coordinates = std::array<int, 4>;  // by axis

class MeshMap {
 public:
  // host_of_rank: by rank, any numbers; as many as the mesh has places.
  MeshMap(const MeshShape& shape, const std::vector<int>& host_of_rank);

  const MeshShape& shape() const { return shape_; }
  int num_hosts() const { return num_hosts_; }
  int num_ranks() const { return static_cast<int>(rank_at_.size()); }
  int rank_at(int place) const { return rank_at_[static_cast<size_t>(place)]; }
  int place_of(int rank) const { return place_of_[static_cast<size_t>(rank)]; }
  int host_at(int place) const { return host_at_[static_cast<size_t>(place)]; }  // from 0, in the order of places
  Coordinates coordinates_at(int place) const;
  int coordinate_of(int rank, Axis axis) const { return coordinates_at(place_of(rank))[static_cast<size_t>(axis)]; }
  // The rank that differs from this one only in having this coordinate along the axis.
  int rank_along(int rank, Axis axis, int coordinate) const;
  // Whether every rank has the place of its own number.
  bool is_identity() const;

  // How many neighbours along the axis share a host, everywhere: the largest divisor of its degree such that each of its groups,
  // cut into runs of so many, has no run on several hosts. The degree itself where the axis never leaves a host.
  int ranks_per_host(Axis axis) const;
  bool stays_on_host(Axis axis) const { return ranks_per_host(axis) == shape_[axis]; }

 private:
  int stride(Axis axis) const;
  bool runs_share_hosts(Axis axis, int length) const;

  MeshShape shape_;
  std::vector<int> rank_at_, place_of_, host_at_;
  int num_hosts_ = 0;
};

// Hosts of `num_ranks` ranks of which each but the last has `per_host`.
std::vector<int> equal_hosts(int num_ranks, int per_host);

}  // namespace longspan
