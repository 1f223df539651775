#include "attention/kernels/key_intervals.h"

#include <algorithm>
#include <limits>

#include "core/base/error.h"

namespace longspan {

KeyIntervals::KeyIntervals(std::span<const IndexInterval> visible, const IndexRanges& keys,
                           const ResourceAllocator<int32_t>& allocator)
    : num_keys_(num_tokens(keys)), begin_(allocator), end_(allocator), tiles_(allocator) {
  check(num_keys_ <= std::numeric_limits<int32_t>::max(), "a shard of {} keys is too long for 32-bit slots", num_keys_);
  // First slot of each range, so that a query costs one binary search however many ranges there are.
  std::vector<int64_t> first_slot;
  int64_t slots = 0, next_index = std::numeric_limits<int64_t>::min();
  for (const IndexRange& range : keys) {
    check(range.stride > 0 && range.length >= 0, "a range of {} keys, {} apart", range.length, range.stride);
    check(range.start >= next_index, "the keys of a shard must be in order: a range starts at {}, before {}", range.start,
          next_index);
    next_index = range.length > 0 ? range[range.length - 1] + 1 : range.start;
    first_slot.push_back(slots);
    slots += range.length;
  }
  const auto slot_of = [&](int64_t index) {
    const auto next = std::partition_point(keys.begin(), keys.end(), [&](const IndexRange& r) { return r.start < index; });
    if (next == keys.begin()) return int64_t{0};
    const auto r = std::prev(next);
    const int64_t within = (index - r->start + r->stride - 1) / r->stride;
    return first_slot[static_cast<size_t>(r - keys.begin())] + std::min(r->length, within);
  };
  begin_.reserve(visible.size());
  end_.reserve(visible.size());
  for (const IndexInterval& interval : visible) {
    const int64_t begin = slot_of(interval.begin), end = std::max(begin, slot_of(interval.end));
    begin_.push_back(static_cast<int32_t>(begin));
    end_.push_back(static_cast<int32_t>(end));
    num_pairs_ += end - begin;
  }
  tiles_.reserve((visible.size() + kTileQueries - 1) / kTileQueries);
  for (int64_t q = 0; q < num_queries(); q += kTileQueries) {
    Tile tile{.any_begin = std::numeric_limits<int32_t>::max(), .any_end = 0, .all_begin = 0,
              .all_end = std::numeric_limits<int32_t>::max()};
    for (int64_t i = q; i < std::min(q + kTileQueries, num_queries()); ++i) {
      const int32_t begin = begin_[static_cast<size_t>(i)], end = end_[static_cast<size_t>(i)];
      tile.all_begin = std::max(tile.all_begin, begin);
      tile.all_end = std::min(tile.all_end, end);
      if (begin == end) continue;
      tile.any_begin = std::min(tile.any_begin, begin);
      tile.any_end = std::max(tile.any_end, end);
    }
    if (tile.any_begin >= tile.any_end) tile = {};
    tile.all_end = std::max(tile.all_begin, tile.all_end);
    tiles_.push_back(tile);
  }
}

}  // namespace longspan
