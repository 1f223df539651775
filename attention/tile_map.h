// TileMap: for one batch and one rank, which keys of every rank's share its queries may see. Built once per step and
// shared by all layers. Masks compare indices only; documents are runs of indices that never see each other.
//
// What a scheme needs beyond the keys of single ranks is made when it is first asked for and kept for the next layer: the keys of
// all ranks together, and the map of groups of ranks. One thread at a time.
#pragma once

#include <memory>
#include <vector>

#include "attention/kernels/key_intervals.h"
#include "attention/sequence_layout.h"

namespace longspan {

enum class Masking {
  kCausal,  // a token sees its document up to itself
  kFull,    // a token sees its whole document
};

struct AllKeys {
  KeyIntervals visible;             // what this rank's queries may see of them
  std::vector<IndexRanges> places;  // by rank: which of their slots are its tokens, in its order
};

struct TileGroup;

class TileMap {
 public:
  // document_begins: first index of each document, increasing, the first 0; the last document ends with the layout.
  // `allocator` is for what grows with the tokens.
  TileMap(Masking masking, const SequenceLayout& layout, int rank, const std::vector<int64_t>& document_begins,
          const ResourceAllocator<int32_t>& allocator = {});

  int num_ranks() const { return static_cast<int>(keys_of_.size()); }
  int rank() const { return rank_; }
  int64_t num_queries() const { return keys_of_.front().num_queries(); }
  int64_t num_keys(int owner) const { return keys_of(owner).num_keys(); }
  // What this rank's queries may see of the keys that `owner` holds.
  const KeyIntervals& keys_of(int owner) const { return keys_of_.at(static_cast<size_t>(owner)); }
  // The keys of all ranks, put together in the order of their indices.
  const AllKeys& all_keys() const;
  // Each `num_neighbours` ranks as one, which must divide the ranks; this rank's group is the map's rank.
  const TileGroup& grouped(int num_neighbours) const;

 private:
  struct Problem;
  struct Made;
  TileMap(std::shared_ptr<const Problem> problem, std::vector<IndexRanges> shares, int rank);

  std::shared_ptr<const Problem> problem_;
  std::vector<IndexRanges> shares_;  // by rank
  int rank_;
  std::vector<KeyIntervals> keys_of_;
  std::shared_ptr<Made> made_;
};

// A group of neighbouring ranks, whose tokens are put together in the order of their indices.
struct TileGroup {
  TileMap tiles;                    // over groups
  std::vector<IndexRanges> places;  // by rank in this rank's group: which of the group's slots are its tokens, in its order
};

}  // namespace longspan
