#include "attention/tile_map.h"

#include <algorithm>

#include "core/base/error.h"

namespace longspan {

TileMap::TileMap(Masking masking, const SequenceLayout& layout, int rank,
                 const std::vector<int64_t>& document_begins, const ResourceAllocator<int32_t>& allocator) {
  check(layout.total_tokens() == 0 || (!document_begins.empty() && document_begins.front() == 0),
        "the first document must begin at index 0");
  check(std::is_sorted(document_begins.begin(), document_begins.end()), "documents must begin in increasing order");
  HostVector<IndexInterval> visible(allocator);
  visible.reserve(static_cast<size_t>(layout.num_tokens(rank)));
  for (const IndexRange& range : layout.ranges(rank)) {
    for (int64_t i = 0; i < range.length; ++i) {
      const int64_t index = range[i];
      const auto next = std::upper_bound(document_begins.begin(), document_begins.end(), index);
      const int64_t document_end = next == document_begins.end() ? layout.total_tokens() : *next;
      visible.push_back({.begin = *std::prev(next), .end = masking == Masking::kCausal ? index + 1 : document_end});
    }
  }
  for (int owner = 0; owner < layout.num_ranks(); ++owner) {
    keys_of_.emplace_back(visible, layout.ranges(owner), allocator);
  }
}

}  // namespace longspan
