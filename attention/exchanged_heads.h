// ExchangedHeads: which heads each rank attends with where heads are exchanged for tokens, as a pure function of their numbers.
//
// Query heads are dealt out in order, rank r of P taking [H r / P, H (r + 1) / P), so that no rank has more than one more than
// another. A rank needs the key heads of its query heads: where the degree exceeds them, or does not divide them, some are on
// several ranks, and their gradients are summed. The kernel wants the same number of query heads for each key head; a rank whose
// heads are not so attends with several parts, at most three.
#pragma once

#include <cstdint>
#include <vector>

namespace longspan {

struct HeadRange {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
  bool operator==(const HeadRange&) const = default;
};

// By rank, and by part of it.
using HeadTable = std::vector<std::vector<HeadRange>>;

struct ExchangedHeads {
  HeadTable queries, keys;  // as many parts in both
  bool replicated = false;  // a key head is on several ranks
};

// Raises Error(kConfiguration) when there are more ranks than query heads, with the nearest degree that works.
ExchangedHeads exchanged_heads(int64_t num_heads, int64_t num_kv_heads, int num_ranks);

}  // namespace longspan
