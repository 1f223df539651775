// PrefixAttention: attention of a layer over a sequence that comes in chunks of neighbouring tokens, one after the other on one
// rank, so that a pipeline can work on several chunks of one sequence at once (Seq1F1B; Sun et al. 2024). A chunk attends to the
// keys and values of those before it, the prefix, and to its own.
//
//   forward   chunk c, in order: (O, LSE) takes in the keys of chunks 0 to c
//   backward  chunk c, in reverse order: dQ accumulates over them; dK and dV of earlier chunks are summed in the accumulator
//   until
//             the backward of those chunks adds its own
// The prefix is what the chunks' stashes keep anyway; the sums come on top, and go as soon as they are used. In the tile map
// chunks are the ranks. One order of sums, whatever else happens between the chunks.
#pragma once

#include <map>
#include <vector>

#include "attention/sequence_attention.h"

namespace longspan {

// Of one layer and one microbatch of whole sequences.
class PrefixAttention final : public SequenceAttention {
 public:
  PrefixAttention(int num_chunks, double scale) : scale_(scale), chunks_(static_cast<size_t>(num_chunks)) {}
  int num_ranks() const override { return static_cast<int>(chunks_.size()); }

 private:
  struct Chunk {
    Tensor k, v;    // from its forward to its backward
    Tensor dk, dv;  // what later chunks add, accumulator; from the first of their backwards on
  };
  Tensor do_forward(Context& context, const Tensor& q, const Tensor& k, const Tensor& v, const TileMap& tiles,
                    AttentionStash* stash) const override;
  QkvGradient do_backward(Context& context, const Tensor& doutput, const TileMap& tiles, AttentionStash& stash) const override;

  double scale_;
  mutable std::vector<Chunk> chunks_;
};

// Those of all layers, for one microbatch of whole sequences; what its chunks have in common.
class SequencePrefixes {
 public:
  explicit SequencePrefixes(int num_chunks) : num_chunks_(num_chunks) {}
  // The layer is known by its address.
  const SequenceAttention& of(const void* layer, double scale) {
    return layers_.try_emplace(layer, num_chunks_, scale).first->second;
  }

 private:
  int num_chunks_;
  std::map<const void*, PrefixAttention> layers_;
};

}  // namespace longspan
