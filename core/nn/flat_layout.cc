#include "core/nn/flat_layout.h"

#include "core/nn/parameter.h"

namespace longspan {

namespace {

constexpr int64_t kLine = 16;  // elements that no cache line, or rank, shares with other parameters
int64_t padded(int64_t num_elements, int64_t unit) { return (num_elements + unit - 1) / unit * unit; }

void close(Bucket& bucket, const StateShare& share) {
  FlatRange& range = bucket.range;
  range.end = range.begin + padded(range.size(), kLine * share.num_ranks);
  const int64_t piece = range.size() / share.num_ranks;
  bucket.own = {range.begin + share.rank * piece, range.begin + (share.rank + 1) * piece};
}

}  // namespace

FlatLayout lay_out(const std::vector<std::unique_ptr<Parameter>>& parameters, const StateShare& share) {
  check(share.rank >= 0 && share.rank < share.num_ranks, "share {} of {}", share.rank, share.num_ranks);
  FlatLayout layout;
  int64_t elements_of_whole = 0;  // of the last bucket
  for (const auto& p : parameters) {
    const int block = p->first_block, end_block = layout.buckets.empty() ? 0 : layout.buckets.back().end_block;
    check(block >= end_block - 1, "parameter {} of block {} comes after block {}", p->name, block, end_block - 1);
    const bool follows = block == end_block && elements_of_whole < share.bucket_elements;
    if (layout.buckets.empty() || (block >= end_block && !follows)) {
      if (!layout.buckets.empty()) close(layout.buckets.back(), share);
      const int64_t begin = layout.buckets.empty() ? 0 : layout.buckets.back().range.end;
      layout.buckets.push_back({.first_block = block, .end_block = block, .range = {begin, begin}, .own = {}});
      elements_of_whole = 0;
    }
    Bucket& bucket = layout.buckets.back();
    bucket.end_block = block + 1;
    layout.begins.push_back(bucket.range.end);
    bucket.range.end += padded(p->shape.num_elements(), kLine);
    elements_of_whole += p->box.whole.num_elements();
  }
  if (layout.buckets.empty()) return layout;
  close(layout.buckets.back(), share);
  layout.num_elements = layout.buckets.back().range.end;
  return layout;
}

}  // namespace longspan
