#include "parallel/tensor/parallel_linear.h"

namespace longspan {

std::vector<Tensor> ColumnParallel::forward(Context& context, const Tensor& x, int64_t num_tokens, Stash* stash) const {
  std::vector<Tensor> ys;
  for (const Linear& weight : weights_) {
    ys.push_back(context.empty({num_tokens, weight.out_features()}, context.compute_dtype(), kept_in(stash)));
  }
  const auto pieces = tensor_pieces_of(num_tokens, axis_.size());
  for_each_piece(context, axis_, x, pieces, [&](const Tensor& piece, const TensorPiece& rows, int) {
    for (size_t i = 0; i < ys.size(); ++i) weights_[i].multiply(context, piece, rows_of(ys[i], rows));
  });
  if (stash) stash->x = x;
  return ys;
}

Tensor ColumnParallel::backward_input(Context& context, const std::vector<Tensor>& dys, Stash& stash) const {
  check(dys.size() == weights_.size(), "gradients of {} outputs for {} weights", dys.size(), weights_.size());
  const auto pieces = tensor_pieces_of(dys.front().size(0), axis_.size());
  const PieceSum sum = {.columns = weights_.front().in_features(), .travelling = context.accumulator_dtype()};
  Tensor dx = sum_to_piece(context, axis_, pieces, sum, [&](const TensorPiece& rows, const Tensor& into) {
    for (size_t i = 0; i < dys.size(); ++i) {
      weights_[i].multiply_back(context, rows_of(dys[i], rows), i == 0 ? Write::kAssign : Write::kAccumulate, into);
    }
  });
  stash.dys = dys;
  return dx;
}

void ColumnParallel::backward_weight(Context& context, Stash& stash) const {
  check(stash.dys.size() == weights_.size(), "a weight gradient before that of the input");
  int hops_left = axis_.size();
  const auto pieces = tensor_pieces_of(stash.dys.front().size(0), axis_.size());
  for_each_piece(context, axis_, stash.x, pieces, [&](const Tensor& piece, const TensorPiece& rows, int) {
    --hops_left;
    for (size_t i = 0; i < weights_.size(); ++i) {
      weights_[i].add_weight_gradient(context, rows_of(stash.dys[i], rows), piece);
      if (hops_left > 0) continue;
      weights_[i].add_bias_gradient(context, stash.dys[i]);
      stash.dys[i] = {};
    }
  });
  stash = {};
}

Tensor RowParallel::forward(Context& context, const Tensor& x, Stash* stash) const {
  const PieceSum sum = {
      .columns = weight_.out_features(), .travelling = context.accumulator_dtype(), .tag = kept_in(stash)};
  Tensor y = sum_to_piece(context, axis_, tensor_pieces_of(x.size(0), axis_.size()), sum,
                          [&](const TensorPiece& rows, const Tensor& into) {
                            weight_.multiply(context, rows_of(x, rows), into);
                          });
  if (stash) stash->x = x;
  return y;
}

Tensor RowParallel::backward_input(Context& context, const Tensor& dy, Stash& stash) const {
  Tensor dx = context.empty(stash.x.shape(), context.compute_dtype());
  const auto pieces = tensor_pieces_of(stash.x.size(0), axis_.size());
  for_each_piece(context, axis_, dy, pieces, [&](const Tensor& piece, const TensorPiece& rows, int) {
    weight_.multiply_back(context, piece, Write::kAssign, rows_of(dx, rows));
  });
  stash.dy = dy;
  return dx;
}

void RowParallel::backward_weight(Context& context, Stash& stash) const {
  for_each_piece(context, axis_, stash.dy, tensor_pieces_of(stash.x.size(0), axis_.size()),
                 [&](const Tensor& piece, const TensorPiece& rows, int) {
                   weight_.add_weight_gradient(context, piece, rows_of(stash.x, rows));
                 });
  stash = {};
}

}  // namespace longspan
