// The area of a rank: how many pairs of a query of its tokens and a key that it sees there are, which is what attention costs it.
// Documents make areas uneven even where tokens are even; a layout by area gives each rank chunks of even areas instead.
// Pure functions, the same on every rank. Areas are doubles: exact up to 2^53 pairs, which 2^26 tokens do not reach, and none
// overflows, as pairs of 2^32 tokens would in 64 bits.
#pragma once

#include "attention/sequence_layout.h"
#include "attention/tile_map.h"

namespace longspan {

// By rank, in a time that grows with ranges and documents, not with tokens. document_begins as TileMap wants them.
std::vector<double> areas(Masking masking, const SequenceLayout& layout, const std::vector<int64_t>& document_begins);

// The largest over the mean; 1 where all is even, or nothing is to be done.
double imbalance(const std::vector<double>& areas);

struct AreaOptions {
  Masking masking = Masking::kCausal;
  int num_ranks = 1;
  int chunks_per_rank = 0;  // 0: 8, or twice that and more, up to 32, until no chunk has more than half of a rank's area
};

// All tokens in num_ranks * chunks_per_rank chunks of nearly even lengths, of which each rank has chunks_per_rank, so that no
// rank has more than that many tokens more than another (MagiAttention's dispatch). The largest chunks by area are dealt out
// first, each to the rank with the least area that has room, and then pairs of chunks change ranks while that lowers the
// largest area.
SequenceLayout layout_by_area(const AreaOptions& options, int64_t total_tokens, const std::vector<int64_t>& document_begins);

// Of a batch of causal sequences of one length: as the type says, or by the areas of all its documents.
struct BatchShape {
  int64_t sequence_length = 0, num_sequences = 1;
};
SequenceLayout lay_out(LayoutType type, int num_ranks, const BatchShape& batch, const std::vector<int64_t>& document_begins);
// The areas of such a batch where each sequence is one document, as long as nothing is known of them.
std::vector<double> areas_of_batch(LayoutType type, int num_ranks, const BatchShape& batch);

}  // namespace longspan
