#include "attention/sequence_layout.h"

#include <algorithm>

#include "core/base/error.h"

namespace longspan {

namespace {

// Where part `part` of `num_parts` nearly equal parts of [0, length) begins; the first parts are the longer ones.
int64_t part_begin(int64_t length, int64_t num_parts, int64_t part) {
  return part * (length / num_parts) + std::min(part, length % num_parts);
}

void append_part(IndexRanges& ranges, int64_t base, int64_t length, int64_t num_parts, int64_t part) {
  const int64_t begin = part_begin(length, num_parts, part), end = part_begin(length, num_parts, part + 1);
  if (begin == end) return;
  if (!ranges.empty() && ranges.back().stride == 1 && ranges.back().start + ranges.back().length == base + begin) {
    ranges.back().length += end - begin;  // neighbours become one range
  } else {
    ranges.push_back({.start = base + begin, .stride = 1, .length = end - begin});
  }
}

}  // namespace

std::string_view name(LayoutType type) {
  switch (type) {
    case LayoutType::kContiguous:
      return "CONTIGUOUS";
    case LayoutType::kZigzag:
      return "ZIGZAG";
    case LayoutType::kStriped:
      return "STRIPED";
    case LayoutType::kArea:
      return "AREA";
  }
  return "?";
}

SequenceLayout::SequenceLayout(LayoutType type, int num_ranks, int64_t sequence_length, int64_t num_sequences)
    : type_(type), num_ranks_(num_ranks), sequence_length_(sequence_length), num_sequences_(num_sequences) {
  check(type != LayoutType::kArea, "a layout by area without documents");
  check(num_ranks >= 1, "a layout needs at least one rank, not {}", num_ranks);
  check(sequence_length >= 0 && num_sequences >= 0, "a layout of {} sequences of {} tokens", num_sequences,
        sequence_length);
}

SequenceLayout::SequenceLayout(std::vector<IndexRanges> shares)
    : SequenceLayout(LayoutType::kContiguous, static_cast<int>(shares.size()), 0, 1) {
  shares_ = std::move(shares);
  for (const IndexRanges& share : shares_) sequence_length_ += longspan::num_tokens(share);
}

IndexRanges SequenceLayout::ranges(int rank) const {
  check(rank >= 0 && rank < num_ranks_, "rank {} is not one of the layout's {}", rank, num_ranks_);
  if (!shares_.empty()) return shares_[static_cast<size_t>(rank)];
  IndexRanges ranges;
  for (int64_t s = 0; s < num_sequences_; ++s) {
    const int64_t base = s * sequence_length_;
    switch (type_) {
      case LayoutType::kContiguous:
        append_part(ranges, base, sequence_length_, num_ranks_, rank);
        break;
      case LayoutType::kZigzag:
        append_part(ranges, base, sequence_length_, 2 * num_ranks_, rank);
        append_part(ranges, base, sequence_length_, 2 * num_ranks_, 2 * num_ranks_ - 1 - rank);
        break;
      case LayoutType::kStriped:
        if (rank < sequence_length_) {
          const int64_t length = (sequence_length_ - rank + num_ranks_ - 1) / num_ranks_;
          ranges.push_back({.start = base + rank, .stride = num_ranks_, .length = length});
        }
        break;
      case LayoutType::kArea:
        break;  // refused above
    }
  }
  return ranges;
}

int64_t SequenceLayout::num_tokens(int rank) const { return longspan::num_tokens(ranges(rank)); }

}  // namespace longspan
