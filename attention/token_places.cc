#include "attention/token_places.h"

#include <algorithm>

namespace longspan {

namespace {

// A range of one of the shares.
struct Piece {
  IndexRange range;
  size_t share;
};

std::vector<Piece> pieces_of(std::span<const IndexRanges> shares) {
  std::vector<Piece> pieces;
  for (size_t s = 0; s < shares.size(); ++s) {
    for (const IndexRange& range : shares[s]) {
      if (range.length > 0) pieces.push_back({range, s});
    }
  }
  std::sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) { return a.range.start < b.range.start; });
  return pieces;
}

void append_range(IndexRanges& ranges, const IndexRange& range) {
  if (!ranges.empty() && ranges.back().stride == 1 && ranges.back().start + ranges.back().length == range.start) {
    ranges.back().length += range.length;
  } else {
    ranges.push_back(range);
  }
}

// Pieces that do not interleave: a slot is a sum of lengths.
void merge_runs(const std::vector<Piece>& pieces, MergedShares& merged) {
  int64_t slot = 0;
  for (const auto& [range, share] : pieces) {
    append_range(merged.ranges, range);
    append_range(merged.places[share], {.start = slot, .stride = 1, .length = range.length});
    slot += range.length;
  }
}

// Any pieces: token by token.
void merge_tokens(const std::vector<Piece>& pieces, MergedShares& merged) {
  std::vector<std::pair<int64_t, size_t>> tokens;
  for (const auto& [range, share] : pieces) {
    for (int64_t i = 0; i < range.length; ++i) tokens.emplace_back(range[i], share);
  }
  std::sort(tokens.begin(), tokens.end());
  int64_t slot = 0;
  for (const auto& [index, share] : tokens) {
    append(merged.ranges, index);
    append(merged.places[share], slot++);
  }
}

// Calls visit(rows of `rows`, rows of `all`) for each range.
template <class Visit>
void for_each_range(const Tensor& rows, const IndexRanges& places, const Tensor& all, const Visit& visit) {
  check(rows.size(0) == num_tokens(places), "{} rows for {} places", rows.size(0), num_tokens(places));
  int64_t begin = 0;
  for (const IndexRange& range : places) {
    if (range.length == 0) continue;
    const Tensor there = all.slice(0, range.start, range[range.length - 1] + 1);
    visit(rows.slice(0, begin, begin + range.length), range.stride == 1 ? there : there.every(0, range.stride));
    begin += range.length;
  }
}

}  // namespace

void append(IndexRanges& ranges, int64_t index) {
  if (!ranges.empty()) {
    IndexRange& last = ranges.back();
    if (last.length == 1) last.stride = index - last.start;
    if (last[last.length] == index) {
      ++last.length;
      return;
    }
  }
  ranges.push_back({.start = index, .stride = 1, .length = 1});
}

MergedShares merge(std::span<const IndexRanges> shares) {
  MergedShares merged;
  merged.places.resize(shares.size());
  const std::vector<Piece> pieces = pieces_of(shares);
  if (pieces.empty()) return merged;
  int64_t end = 0, count = 0;
  bool only_runs = true;
  for (const auto& [range, unused_share] : pieces) {
    end = std::max(end, range[range.length - 1] + 1);
    count += range.length;
    only_runs &= range.stride == 1 || range.length == 1;
  }
  const int64_t begin = pieces.front().range.start;
  if (only_runs) {
    merge_runs(pieces, merged);
  } else if (end - begin == count) {  // nothing is missing: a slot is an index
    merged.ranges = {{.start = begin, .stride = 1, .length = count}};
    for (size_t s = 0; s < shares.size(); ++s) {
      for (IndexRange range : shares[s]) {
        range.start -= begin;
        if (range.length > 0) merged.places[s].push_back(range);
      }
    }
  } else {
    merge_tokens(pieces, merged);
  }
  return merged;
}

void take_rows(const Context& context, const Tensor& all, const IndexRanges& places, const Tensor& rows) {
  for_each_range(rows, places, all, [&](const Tensor& here, const Tensor& there) { context.copy_rows(there, here); });
}

void place_rows(const Context& context, const Tensor& rows, const IndexRanges& places, const Tensor& all) {
  for_each_range(rows, places, all, [&](const Tensor& here, const Tensor& there) { context.copy_rows(here, there); });
}

bool is_one_run(const IndexRanges& places) {
  return places.empty() || (places.size() == 1 && (places.front().stride == 1 || places.front().length <= 1));
}

Tensor run_of(const Tensor& all, const IndexRanges& places) {
  check(is_one_run(places), "{} ranges are no run of neighbours", places.size());
  if (places.empty()) return all.slice(0, 0, 0);
  return all.slice(0, places.front().start, places.front().start + places.front().length);
}

}  // namespace longspan
