// How the ranks of a tensor axis share the heads of attention, whether or not anything divides.
//
// Query heads are cut contiguously, as evenly as can be. A rank holds the key heads that its query heads need; those whose group
// of query heads lies across a cut are held by several ranks, each of which then has a part of their gradient. Attention's
// kernel wants groups of one size: where a rank's are not, it repeats key heads, as few as serve. They are repeated before the
// context axis moves them, which then carries kv_of.size() / kv.size() times the bytes of the heads held.
#pragma once

#include "parallel/tensor/pieces.h"

namespace longspan {

struct HeadSplit {
  TensorPiece q, kv;               // heads of the whole that the rank holds
  TensorPiece counted_kv;          // of kv, those that no rank before holds: over all ranks each head once
  std::vector<int64_t> kv_of;  // for each key head that the kernel sees: which of those held, 0 being kv.begin
  // Whether the kernel sees the key heads as they are held.
  bool repeats() const { return static_cast<int64_t>(kv_of.size()) != kv.size(); }
};

// num_kv_heads divides num_heads. Raises Error(kConfiguration) where there are more ranks than query heads.
HeadSplit split_heads(int64_t num_heads, int64_t num_kv_heads, int num_ranks, int rank);

// Key heads that several ranks hold, as the longest runs of neighbours; increasing.
std::vector<TensorPiece> shared_kv_heads(int64_t num_heads, int64_t num_kv_heads, int num_ranks);

}  // namespace longspan
