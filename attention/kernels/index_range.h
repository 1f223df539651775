// IndexRange: which tokens a rank holds.
//
// A token's index is its place in the whole sequence (of a packed sequence or a batch: in their concatenation), 64-bit.
// A rank's share is a list of ranges with increasing, disjoint indices: contiguous, zigzag and striped layouts are all such
// lists. The token at place `slot` of a rank's tensors is the slot-th index of its list.
#pragma once

#include <cstdint>
#include <vector>

namespace longspan {

struct IndexRange {
  int64_t start = 0, stride = 1, length = 0;  // start, start + stride, ...; length of them
  int64_t operator[](int64_t i) const { return start + stride * i; }
  bool operator==(const IndexRange&) const = default;
};

using IndexRanges = std::vector<IndexRange>;

int64_t num_tokens(const IndexRanges& ranges);
std::vector<int64_t> indices(const IndexRanges& ranges);  // in slot order

}  // namespace longspan
