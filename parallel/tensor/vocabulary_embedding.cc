#include "parallel/tensor/vocabulary_embedding.h"

#include "core/kernels/embedding.h"

namespace longspan {

Tensor VocabularyEmbedding::forward(Context& context, const Tensor& tokens, Stash* stash) const {
  if (axis_.size() == 1) return whole_.forward(context, tokens, stash);
  // One rank adds a row, the others zeros: exact in any dtype.
  const PieceSum sum = {.columns = table_.shape[1], .travelling = context.compute_dtype(), .tag = kept_in(stash)};
  Tensor y = sum_to_piece(context, axis_, tensor_pieces_of(tokens.size(0), axis_.size()), sum,
                          [&](const TensorPiece& rows, const Tensor& into) {
                            context.kernels<Embedding>().gather_slice(context, vocabulary_slice_of(table_), rows_of(tokens, rows),
                                                                      table_.value, into);
                          });
  if (stash) stash->tokens = tokens;
  return y;
}

void VocabularyEmbedding::backward_weight(Context& context, Stash& stash) const {
  if (axis_.size() == 1) return whole_.backward_weight(context, stash);
  for_each_piece(context, axis_, stash.dy, tensor_pieces_of(stash.tokens.size(0), axis_.size()),
                 [&](const Tensor& dy, const TensorPiece& rows, int) {
                   context.kernels<Embedding>().scatter_add_slice(context, vocabulary_slice_of(table_),
                                                                  rows_of(stash.tokens, rows), dy, table_.gradient);
                 });
  stash = {};
}

}  // namespace longspan
