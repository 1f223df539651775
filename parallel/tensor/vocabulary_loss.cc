#include "parallel/tensor/vocabulary_loss.h"

#include <algorithm>

#include "core/kernels/linear_algebra.h"
#include "core/kernels/loss.h"

namespace longspan {

// Rows of a tile stand by rank: `pieces` are each rank's rows of it, `tokens` where those are among all tokens.
struct VocabularyLoss::Tile {
  std::vector<TensorPiece> pieces, tokens;
  Tensor xs;               // [rows, hidden], for a backward
  Tensor logits;           // [rows, entries held here], accumulator
  Tensor targets;          // [rows]
  int64_t num_rows() const { return pieces.back().end; }
};

int64_t VocabularyLoss::tile_of_piece() const { return std::max<int64_t>(1, tile_tokens_ / axis_.size()); }

// The tile that begins with row `first` of every piece.
VocabularyLoss::Tile VocabularyLoss::gathered_tile(Context& context, const Tensor& x, const Tensor& targets,
                                                   int64_t first, Keep keep) const {
  Tile tile;
  int64_t begin = 0;
  for (const TensorPiece& piece : tensor_pieces_of(targets.size(0), axis_.size())) {
    const int64_t from = piece.begin + first;
    const TensorPiece tokens = {std::min(piece.end, from), std::min(piece.end, from + tile_of_piece())};
    tile.tokens.push_back(tokens);
    tile.pieces.push_back({begin, begin + tokens.size()});
    begin += tokens.size();
  }
  if (keep == Keep::kPieces) tile.xs = context.empty({begin, x.size(1)}, x.dtype(), MemoryTag::kWorkspace);
  tile.logits = context.empty({begin, weight_.shape[0]}, context.accumulator_dtype(), MemoryTag::kWorkspace);
  tile.targets = context.empty({begin}, DType::kInt32, MemoryTag::kWorkspace);
  const size_t own = static_cast<size_t>(axis_.rank());
  const int64_t own_first = std::min(first, x.size(0));
  const Tensor own_x = x.slice(0, own_first, own_first + tile.pieces[own].size());
  for_each_piece(context, axis_, own_x, tile.pieces, [&](const Tensor& piece, const TensorPiece& rows, int owner) {
    const auto from = static_cast<size_t>(owner);
    if (tile.xs.defined()) context.copy(piece, rows_of(tile.xs, rows));
    context.copy(rows_of(targets, tile.tokens[from]), rows_of(tile.targets, rows));
    context.kernels<LinearAlgebra>().gemm(context, {.b = Transpose::kYes, .packed_b = weight_.packed_transposed}, piece,
                                          weight_.value, rows_of(tile.logits, rows));
  });
  return tile;
}

// The totals of the tile's softmax; its losses go to where its tokens are.
Tensor VocabularyLoss::totals_of(Context& context, const Tile& tile, const Tensor& losses) const {
  const auto& kernel = context.kernels<Loss>();
  const DType dtype = context.accumulator_dtype();
  const auto workspace = [&](const Shape& shape) { return context.empty(shape, dtype, MemoryTag::kWorkspace); };
  const int64_t rows = tile.num_rows();
  const Tensor parts = workspace({3, rows}), all_parts = workspace({axis_.size(), 3, rows});
  const Tensor tile_losses = workspace({rows}), totals = workspace({2, rows});
  kernel.partial_cross_entropy(context, vocabulary_slice_of(weight_), tile.logits, tile.targets, parts);
  axis_.all_gather(context.stream(), parts, all_parts);
  kernel.combine_cross_entropy(context, vocabulary_slice_of(weight_), all_parts, tile.targets, tile_losses, totals);
  for (size_t r = 0; r < tile.pieces.size(); ++r) {
    context.copy(rows_of(tile_losses, tile.pieces[r]), rows_of(losses, tile.tokens[r]));
  }
  return totals;
}

// dx [this rank's rows of the tile, hidden], assigned, and the weight's gradient.
void VocabularyLoss::backward_tile(Context& context, const Tile& tile, const Tensor& dlogits, const Tensor& dx) const {
  const auto& algebra = context.kernels<LinearAlgebra>();
  const PieceSum sum = {.columns = weight_.shape[1], .travelling = context.accumulator_dtype(), .result = dx};
  sum_to_piece(context, axis_, tile.pieces, sum, [&](const TensorPiece& rows, const Tensor& into) {
    algebra.gemm(context, {.packed_b = weight_.packed}, rows_of(dlogits, rows), weight_.value, into);
  });
  algebra.gemm(context, {.a = Transpose::kYes, .write = Write::kAccumulate}, dlogits, tile.xs, weight_.gradient);
}

Tensor VocabularyLoss::forward(Context& context, const Tensor& x, const Tensor& targets, double gradient_scale,
                               Stash* stash) const {
  if (axis_.size() == 1) return whole_.forward(context, x, targets, gradient_scale, stash);
  const int64_t num_tokens = targets.size(0), longest = (num_tokens + axis_.size() - 1) / axis_.size();
  Tensor losses = context.empty({num_tokens}, context.accumulator_dtype());
  if (stash) stash->dx = context.empty(x.shape(), context.compute_dtype(), MemoryTag::kStash);
  for (int64_t first = 0; first < longest; first += tile_of_piece()) {
    const Tile tile = gathered_tile(context, x, targets, first, stash ? Keep::kPieces : Keep::kNothing);
    const Tensor totals = totals_of(context, tile, losses);
    if (!stash) continue;
    const auto& kernel = context.kernels<Loss>();
    const Tensor dlogits = kernel.gradient_over(context, tile.logits, context.compute_dtype());
    kernel.cross_entropy_gradient(context, vocabulary_slice_of(weight_), tile.logits, tile.targets, gradient_scale, totals,
                                  dlogits);
    const int64_t begin = std::min(first, x.size(0)), rows = tile.pieces[static_cast<size_t>(axis_.rank())].size();
    backward_tile(context, tile, dlogits, stash->dx.slice(0, begin, begin + rows));
  }
  return losses;
}

Tensor VocabularyLoss::logits(Context& context, const Tensor& x) const {
  check(axis_.size() == 1, "logits of {} ranks that share a vocabulary", axis_.size());
  return whole_.logits(context, x);
}

}  // namespace longspan
