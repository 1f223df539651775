// SequenceLayout: which indices of a batch each rank of the context axis holds.
//
// A batch of B sequences of N tokens is one row of B N indices; each sequence is laid out alike. No length has to divide:
//   contiguous  rank r holds a run of ceil or floor(N / P) tokens
//   zigzag      2 P chunks; rank r holds chunks r and 2P - 1 - r, so that causal work is even (Zhu 2023)
//   striped     rank r holds r, r + P, r + 2P, ... (Brandon et al. 2023)
//   area        chunks dealt out so that work is even whatever the documents of a batch are; see sequence_area.h, which makes it
#pragma once

#include <string_view>

#include "attention/kernels/index_range.h"

namespace longspan {

enum class LayoutType { kContiguous, kZigzag, kStriped, kArea };
std::string_view name(LayoutType type);

class SequenceLayout {
 public:
  // Not for kArea.
  SequenceLayout(LayoutType type, int num_ranks, int64_t sequence_length, int64_t num_sequences);
  // What each rank holds, in increasing order; together every index from 0 on once.
  explicit SequenceLayout(std::vector<IndexRanges> shares);

  int num_ranks() const { return num_ranks_; }
  int64_t total_tokens() const { return sequence_length_ * num_sequences_; }
  IndexRanges ranges(int rank) const;     // increasing indices; empty ranges left out
  int64_t num_tokens(int rank) const;

 private:
  LayoutType type_;
  int num_ranks_;
  int64_t sequence_length_, num_sequences_;
  std::vector<IndexRanges> shares_;  // empty: as the type says
};

}  // namespace longspan
