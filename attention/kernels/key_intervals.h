// KeyIntervals: which keys of one shard each query of another may see.
//
// What a query may see is an interval of key indices [k_lo, k_hi): causal attention, documents and windows are all such
// intervals. A shard's slots are sorted by index, so that interval is an interval of slots, too, in 32 bits.
// Built once per step and hop, shared by all layers and heads; the tile bounds let a kernel skip a tile or drop its mask.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "attention/kernels/index_range.h"
#include "core/runtime/resource_allocator.h"

namespace longspan {

struct IndexInterval {
  int64_t begin = 0, end = 0;  // key indices [begin, end)
};

class KeyIntervals {
 public:
  static constexpr int64_t kTileQueries = 32;
  // For the queries of one tile: keys outside [any_begin, any_end) are seen by none, keys in [all_begin, all_end) by all.
  // A tile that sees nothing has any_begin = any_end.
  struct Tile {
    int32_t any_begin = 0, any_end = 0, all_begin = 0, all_end = 0;
  };

  // visible[i]: what the query in slot i may see; keys: the shard. Raises unless the ranges are in order and disjoint.
  KeyIntervals(std::span<const IndexInterval> visible, const IndexRanges& keys,
               const ResourceAllocator<int32_t>& allocator = {});

  int64_t num_queries() const { return static_cast<int64_t>(begin_.size()); }
  int64_t num_keys() const { return num_keys_; }
  bool empty() const { return num_pairs_ == 0; }           // no query sees any key: the hop needs no compute
  int64_t num_pairs() const { return num_pairs_; }         // (query, key) pairs that are seen
  std::span<const int32_t> begin() const { return begin_; }  // by query slot; begin[i] <= end[i]
  std::span<const int32_t> end() const { return end_; }
  std::span<const Tile> tiles() const { return tiles_; }     // tile t: queries [32 t, 32 t + 32)
  // What a backend made of them in its device's memory, kept here for the next layer; null at first. One thread at a time.
  std::shared_ptr<const void>& on_device() const { return on_device_; }

 private:
  int64_t num_keys_ = 0, num_pairs_ = 0;
  HostVector<int32_t> begin_, end_;
  HostVector<Tile> tiles_;
  mutable std::shared_ptr<const void> on_device_;
};

}  // namespace longspan
