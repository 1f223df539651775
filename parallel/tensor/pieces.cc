#include "parallel/tensor/pieces.h"

#include "core/kernels/checks.h"
#include "core/kernels/elementwise.h"
#include "parallel/comm/ring_pass.h"

namespace longspan {

namespace {

std::function<std::vector<Shape>(int)> shapes_of(const std::vector<TensorPiece>& pieces, int64_t columns) {
  return [&pieces, columns](int owner) { return std::vector<Shape>{{pieces[static_cast<size_t>(owner)].size(), columns}}; };
}

void expect_pieces(const Communicator& axis, const std::vector<TensorPiece>& pieces) {
  check(pieces.size() == static_cast<size_t>(axis.size()), "{} pieces on a tensor axis of {} ranks", pieces.size(), axis.size());
}

}  // namespace

TensorPiece tensor_piece_of(int64_t count, int num_ranks, int rank) {
  check(count >= 0 && rank >= 0 && rank < num_ranks, "piece {} of {} of {} rows", rank, num_ranks, count);
  return {.begin = count * rank / num_ranks, .end = count * (rank + 1) / num_ranks};
}

std::vector<TensorPiece> tensor_pieces_of(int64_t count, int num_ranks) {
  std::vector<TensorPiece> pieces;
  for (int rank = 0; rank < num_ranks; ++rank) pieces.push_back(tensor_piece_of(count, num_ranks, rank));
  return pieces;
}

Tensor rows_of(const Tensor& tensor, const TensorPiece& rows) { return tensor.slice(0, rows.begin, rows.end); }

void for_each_piece(Context& context, Communicator& axis, const Tensor& own, const std::vector<TensorPiece>& pieces,
                    const PieceVisit& visit) {
  expect_pieces(axis, pieces);
  if (axis.size() == 1) return visit(own, pieces.front(), 0);
  RingPass ring(context, axis, {own}, shapes_of(pieces, own.size(1)));
  for (const RingHop& hop : ring) visit(hop.tensors.front(), pieces[static_cast<size_t>(hop.owner)], hop.owner);
}

Tensor sum_to_piece(Context& context, Communicator& axis, const std::vector<TensorPiece>& pieces, const PieceSum& sum,
                    const PieceContribution& contribute) {
  expect_pieces(axis, pieces);
  const TensorPiece& own = pieces[static_cast<size_t>(axis.rank())];
  const auto make_result = [&] {
    if (!sum.result.defined()) return context.empty({own.size(), sum.columns}, context.compute_dtype(), sum.tag);
    expect_dense(sum.result, {own.size(), sum.columns}, context.compute_dtype(), "the result of a sum to pieces");
    return sum.result;
  };
  if (axis.size() == 1) {
    Tensor result = make_result();
    contribute(own, result);
    return result;
  }
  // The last contribution is this rank's own, to which what arrives is added.
  const bool in_place = sum.travelling == context.compute_dtype();
  const auto& kernel = context.kernels<Elementwise>();
  const auto accumulate = [&](const Tensor& from, const Tensor& into) { kernel.add(context, from, into, into); };
  TravellingSum travelling(context, axis, shapes_of(pieces, sum.columns), accumulate, TravellingSum::Begin::kWithPrevious);
  {
    const Context::ProgressGuard progress(context, [&axis] { axis.progress(); });
    for (int i = 0; i < axis.size(); ++i) {
      const TensorPiece& rows = pieces[static_cast<size_t>(travelling.next_owner())];
      const bool is_result = in_place && i + 1 == axis.size();
      Tensor into = is_result ? make_result()
                              : context.empty({rows.size(), sum.columns}, sum.travelling, MemoryTag::kCommunication);
      contribute(rows, into);
      travelling.add({std::move(into)});
    }
  }
  const Tensor total = travelling.finish().front();
  if (in_place) return total;
  Tensor result = make_result();
  kernel.convert(context, total, result);
  return result;
}

}  // namespace longspan
