// Placement: which blocks of a model each rank of the pipeline axis holds.
//
// The blocks of a model are a chain: the embedding, the layers, the head with the loss. A *chunk* is a run of
// neighbouring blocks on one rank; a rank may hold several (virtual stages), dealt to the ranks in turn
// (Narayanan et al. 2021, section 2.2) or there and back again in the shape of a V (Qi et al. 2024), where
// the first rank holds embedding and loss.
#pragma once

#include <cstddef>
#include <vector>

namespace longspan {

struct PlacedChunk {
  int rank = 0;
  int begin = 0, end = 0;  // blocks [begin, end)
  bool operator==(const PlacedChunk&) const = default;
};

struct Placement {
  int num_ranks = 1;
  std::vector<PlacedChunk> chunks;  // in the order of the model

  int num_blocks() const { return chunks.empty() ? 0 : chunks.back().end; }
  int chunks_per_rank() const { return static_cast<int>(chunks.size()) / num_ranks; }
  int chunk_of(int block) const;
  int rank_of(int block) const { return chunks[static_cast<size_t>(chunk_of(block))].rank; }
  std::vector<int> chunks_of(int rank) const;
  std::vector<int> blocks_of(int rank) const;  // in the order of the model, which is that of the rank's stage
};

enum class ChunkOrder { kRoundRobin, kVShape };

// One rank that holds all.
Placement single_rank_placement(int num_blocks);

// Cuts a chain with these costs into `num_parts` runs, none empty, such that the costliest run is as cheap as
// can be, and among such cuts one whose runs differ least (smallest sum of squares). Returns num_parts + 1
// bounds. Raises Error(kConfiguration) where there are fewer blocks than parts.
std::vector<int> split_chain(const std::vector<double>& costs, int num_parts);

// costs: of each block, embedding and head among them. The costliest chunk is as cheap as can be. Raises
// Error(kConfiguration) naming the most chunks that work where the blocks do not reach; a V has two chunks a
// rank.
Placement place_blocks(const std::vector<double>& costs, int num_ranks, int chunks_per_rank = 1,
                       ChunkOrder order = ChunkOrder::kRoundRobin);

}  // namespace longspan
