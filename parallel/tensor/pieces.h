// Pieces: how a tensor axis shares what norms and residuals work on. The rows (tokens) of a rank's share of the sequence are cut
// into one contiguous piece for each rank of the axis, which alone holds it between the products of a block. Heads, columns of
// weights and entries of the vocabulary are cut in the same way.
//
// Two passes serve every layer of this room. Both take what is needed of one rank's piece while that of the next is under way
// round the ring of the axis:
//   for_each_piece  rows of all ranks, visited as they come: P - 1 transfers, of every piece but the own one here
//   sum_to_piece    sums over all ranks, each of which ends at the rank whose piece it is: P - 1 transfers, of every piece but
//                   the own one from here
// On one rank neither moves or copies anything. Raise CommError when a peer fails.
#pragma once

#include <functional>
#include <vector>

#include "core/kernels/vocabulary_slice.h"
#include "core/nn/parameter.h"
#include "parallel/comm/communicator.h"

namespace longspan {

struct TensorPiece {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
  bool operator==(const TensorPiece&) const = default;
};

// [count * rank / num_ranks, count * (rank + 1) / num_ranks): sizes differ by one at most, and may be 0.
TensorPiece tensor_piece_of(int64_t count, int num_ranks, int rank);
std::vector<TensorPiece> tensor_pieces_of(int64_t count, int num_ranks);

// Of a parameter [entries of the vocabulary, ..].
inline VocabularySlice vocabulary_slice_of(const Parameter& p) { return {.first = p.box.begin[0], .size = p.box.whole[0]}; }

// Rows `rows` of a tensor.
Tensor rows_of(const Tensor& tensor, const TensorPiece& rows);

// visit(piece, rows, owner) for every rank's piece, this rank's own first. own [rows of this rank, n]; pieces: of each rank.
using PieceVisit = std::function<void(const Tensor& piece, const TensorPiece& rows, int owner)>;
void for_each_piece(Context& context, Communicator& axis, const Tensor& own, const std::vector<TensorPiece>& pieces,
                    const PieceVisit& visit);

// The sum over the ranks of what contribute(rows, into) assigns to into [rows, columns], for this rank's piece;
// [rows, columns] in the compute dtype: `result`, or else a new one under `tag`. While they travel, sums are in `travelling`, the
// accumulator or the compute dtype; on one rank `into` is what is returned. For a given number of ranks the same bits every time.
struct PieceSum {
  int64_t columns = 0;
  DType travelling = DType::kFloat32;
  MemoryTag tag = MemoryTag::kActivations;
  Tensor result = {};  // contiguous
};
using PieceContribution = std::function<void(const TensorPiece& rows, const Tensor& into)>;
Tensor sum_to_piece(Context& context, Communicator& axis, const std::vector<TensorPiece>& pieces, const PieceSum& sum,
                    const PieceContribution& contribute);

}  // namespace longspan
