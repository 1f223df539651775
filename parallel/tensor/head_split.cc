#include "parallel/tensor/head_split.h"

#include <algorithm>
#include <numeric>

namespace longspan {

namespace {

TensorPiece kv_heads_of(const TensorPiece& q, int64_t group) {
  return {.begin = q.begin / group, .end = (q.end + group - 1) / group};
}

void expect_shares(int64_t num_heads, int64_t num_kv_heads, int num_ranks) {
  check(num_kv_heads > 0 && num_heads % num_kv_heads == 0, "{} key heads do not divide {} query heads", num_kv_heads, num_heads);
  if (num_ranks > num_heads) {
    raise(ErrorKind::kConfiguration, "{} ranks of a tensor axis cannot share {} heads; {} can", num_ranks, num_heads, num_heads);
  }
}

}  // namespace

HeadSplit split_heads(int64_t num_heads, int64_t num_kv_heads, int num_ranks, int rank) {
  expect_shares(num_heads, num_kv_heads, num_ranks);
  const int64_t group = num_heads / num_kv_heads;
  HeadSplit split;
  split.q = tensor_piece_of(num_heads, num_ranks, rank);
  split.kv = split.counted_kv = kv_heads_of(split.q, group);
  if (rank > 0) {
    split.counted_kv.begin = std::max(split.kv.begin, kv_heads_of(tensor_piece_of(num_heads, num_ranks, rank - 1), group).end);
  }
  // The kernel's groups are of the greatest size that divides every group here.
  std::vector<int64_t> sizes;
  for (int64_t head = split.kv.begin; head < split.kv.end; ++head) {
    sizes.push_back(std::min(split.q.end, (head + 1) * group) - std::max(split.q.begin, head * group));
  }
  const int64_t unit = std::accumulate(sizes.begin(), sizes.end(), int64_t{0}, std::gcd<int64_t, int64_t>);
  for (size_t i = 0; i < sizes.size(); ++i) {
    split.kv_of.insert(split.kv_of.end(), static_cast<size_t>(sizes[i] / unit), static_cast<int64_t>(i));
  }
  return split;
}

std::vector<TensorPiece> shared_kv_heads(int64_t num_heads, int64_t num_kv_heads, int num_ranks) {
  expect_shares(num_heads, num_kv_heads, num_ranks);
  const int64_t group = num_heads / num_kv_heads;
  std::vector<TensorPiece> shared;
  for (int64_t head = 0; head < num_kv_heads; ++head) {
    int holders = 0;
    for (const TensorPiece& q : tensor_pieces_of(num_heads, num_ranks)) {
      const TensorPiece kv = kv_heads_of(q, group);
      if (kv.begin <= head && head < kv.end) ++holders;
    }
    if (holders < 2) continue;
    if (!shared.empty() && shared.back().end == head) {
      ++shared.back().end;
    } else {
      shared.push_back({head, head + 1});
    }
  }
  return shared;
}

}  // namespace longspan
