// TileMap: for one batch and one rank, which keys of every rank's share its queries may see. Built once per step and
// shared by all layers. Masks compare indices only; documents are runs of indices that never see each other.
#pragma once

#include <vector>

#include "attention/kernels/key_intervals.h"
#include "attention/sequence_layout.h"

namespace longspan {

enum class Masking {
  kCausal,  // a token sees its document up to itself
  kFull,    // a token sees its whole document
};

class TileMap {
 public:
  // document_begins: first index of each document, increasing, the first 0; the last document ends with the layout.
  // `allocator` is for what grows with the tokens.
  TileMap(Masking masking, const SequenceLayout& layout, int rank, const std::vector<int64_t>& document_begins,
          const ResourceAllocator<int32_t>& allocator = {});

  int num_ranks() const { return static_cast<int>(keys_of_.size()); }
  int64_t num_queries() const { return keys_of_.front().num_queries(); }
  int64_t num_keys(int owner) const { return keys_of(owner).num_keys(); }
  // What this rank's queries may see of the keys that `owner` holds.
  const KeyIntervals& keys_of(int owner) const { return keys_of_.at(static_cast<size_t>(owner)); }

 private:
  std::vector<KeyIntervals> keys_of_;
};

}  // namespace longspan
