#include "parallel/tensor/repeated_heads.h"

#include "core/base/bfloat16.h"
#include "core/kernels/linear_algebra.h"

namespace longspan {

namespace {

template <class T>
void write_selection(const HeadSplit& split, int64_t head_dim, const Tensor& matrix) {
  T* row = matrix.data<T>();
  for (const int64_t head : split.kv_of) {
    for (int64_t i = 0; i < head_dim; ++i, row += matrix.size(1)) {
      std::fill_n(row, matrix.size(1), T(0.0f));
      row[head * head_dim + i] = T(1.0f);
    }
  }
}

// x [tokens, heads, head_dim] times op(selection).
void multiply(Context& context, const Tensor& x, const Tensor& selection, Transpose transpose, const Tensor& y) {
  const auto by_token = [](const Tensor& t) { return t.reshape({t.size(0), t.size(1) * t.size(2)}); };
  context.kernels<LinearAlgebra>().gemm(context, {.b = transpose}, by_token(x), selection, by_token(y));
}

}  // namespace

// [seen * head_dim, held * head_dim]: a one where a seen head's element is that of the held one.
Tensor RepeatedHeads::selection(const Context& context, int64_t head_dim, DType dtype) const {
  const Shape shape = {static_cast<int64_t>(split_.kv_of.size()) * head_dim, split_.kv.size() * head_dim};
  Tensor& matrix = selections_[dtype];
  if (matrix.defined() && matrix.shape() == shape) return matrix;
  matrix = context.empty(shape, dtype, MemoryTag::kWorkspace);
  context.write_from_host(matrix, [&](const Tensor& of_host) {
    if (dtype == DType::kFloat64) write_selection<double>(split_, head_dim, of_host);
    if (dtype == DType::kFloat32) write_selection<float>(split_, head_dim, of_host);
    if (dtype == DType::kBFloat16) write_selection<bfloat16>(split_, head_dim, of_host);
  });
  return matrix;
}

Tensor RepeatedHeads::repeat(Context& context, const Tensor& x, MemoryTag tag) const {
  if (!split_.repeats()) return x;
  Tensor y = context.empty({x.size(0), static_cast<int64_t>(split_.kv_of.size()), x.size(2)}, x.dtype(), tag);
  multiply(context, x, selection(context, x.size(2), x.dtype()), Transpose::kYes, y);
  return y;
}

Tensor RepeatedHeads::sum(Context& context, const Tensor& dy) const {
  if (!split_.repeats()) return dy;
  Tensor dx = context.empty({dy.size(0), split_.kv.size(), dy.size(2)}, dy.dtype());
  multiply(context, dy, selection(context, dy.size(2), dy.dtype()), Transpose::kNo, dx);
  return dx;
}

}  // namespace longspan
