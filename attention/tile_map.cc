#include "attention/tile_map.h"

#include <algorithm>
#include <map>
#include <optional>

#include "attention/token_places.h"
#include "core/base/error.h"

namespace longspan {

struct TileMap::Problem {
  Masking masking;
  int64_t total_tokens;
  std::vector<int64_t> document_begins;
  ResourceAllocator<int32_t> allocator;

  // What the tokens at these indices may see.
  HostVector<IndexInterval> visible_from(const IndexRanges& queries) const {
    HostVector<IndexInterval> visible(allocator);
    visible.reserve(static_cast<size_t>(num_tokens(queries)));
    for (const IndexRange& range : queries) {
      for (int64_t i = 0; i < range.length; ++i) {
        const int64_t index = range[i];
        const auto next = std::upper_bound(document_begins.begin(), document_begins.end(), index);
        const int64_t document_end = next == document_begins.end() ? total_tokens : *next;
        visible.push_back({.begin = *std::prev(next), .end = masking == Masking::kCausal ? index + 1 : document_end});
      }
    }
    return visible;
  }
};

struct TileMap::Made {
  std::optional<AllKeys> all_keys;
  std::map<int, TileGroup> grouped;  // by neighbours
};

namespace {

std::vector<IndexRanges> shares_of(const SequenceLayout& layout) {
  std::vector<IndexRanges> shares;
  for (int rank = 0; rank < layout.num_ranks(); ++rank) shares.push_back(layout.ranges(rank));
  return shares;
}

}  // namespace

TileMap::TileMap(Masking masking, const SequenceLayout& layout, int rank,
                 const std::vector<int64_t>& document_begins, const ResourceAllocator<int32_t>& allocator)
    : TileMap(std::make_shared<const Problem>(Problem{masking, layout.total_tokens(), document_begins, allocator}),
              shares_of(layout), rank) {}

TileMap::TileMap(std::shared_ptr<const Problem> problem, std::vector<IndexRanges> shares, int rank)
    : problem_(std::move(problem)), shares_(std::move(shares)), rank_(rank), made_(std::make_shared<Made>()) {
  const auto& begins = problem_->document_begins;
  check(rank >= 0 && static_cast<size_t>(rank) < shares_.size(), "rank {} is not one of the layout's {}", rank,
        shares_.size());
  check(problem_->total_tokens == 0 || (!begins.empty() && begins.front() == 0),
        "the first document must begin at index 0");
  check(std::is_sorted(begins.begin(), begins.end()), "documents must begin in increasing order");
  const auto visible = problem_->visible_from(shares_[static_cast<size_t>(rank)]);
  for (const IndexRanges& keys : shares_) keys_of_.emplace_back(visible, keys, problem_->allocator);
}

const AllKeys& TileMap::all_keys() const {
  if (!made_->all_keys) {
    MergedShares merged = merge(shares_);
    const auto visible = problem_->visible_from(shares_[static_cast<size_t>(rank_)]);
    made_->all_keys.emplace(AllKeys{KeyIntervals(visible, merged.ranges, problem_->allocator), std::move(merged.places)});
  }
  return *made_->all_keys;
}

const TileGroup& TileMap::grouped(int num_neighbours) const {
  const auto found = made_->grouped.find(num_neighbours);
  if (found != made_->grouped.end()) return found->second;
  check(num_neighbours >= 1 && num_ranks() % num_neighbours == 0, "{} ranks in groups of {}", num_ranks(),
        num_neighbours);
  const auto size = static_cast<size_t>(num_neighbours);
  const int mine = rank_ / num_neighbours;
  std::vector<IndexRanges> shares, places;
  for (size_t begin = 0; begin < shares_.size(); begin += size) {
    MergedShares merged = merge(std::span(shares_).subspan(begin, size));
    shares.push_back(std::move(merged.ranges));
    if (begin / size == static_cast<size_t>(mine)) places = std::move(merged.places);
  }
  TileGroup group = {.tiles = TileMap(problem_, std::move(shares), mine), .places = std::move(places)};
  return made_->grouped.emplace(num_neighbours, std::move(group)).first->second;
}

}  // namespace longspan
