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

// [seen * head_dim, held * head_dim]: a one where a seen head's element is that of the held one.
Tensor selection(const Context& context, const HeadSplit& split, int64_t head_dim) {
  const Shape shape = {static_cast<int64_t>(split.kv_of.size()) * head_dim, split.kv.size() * head_dim};
  const Tensor matrix = context.empty(shape, context.compute_dtype(), MemoryTag::kWorkspace);
  context.write_from_host(matrix, [&](const Tensor& of_host) {
    if (of_host.dtype() == DType::kFloat64) write_selection<double>(split, head_dim, of_host);
    if (of_host.dtype() == DType::kFloat32) write_selection<float>(split, head_dim, of_host);
    if (of_host.dtype() == DType::kBFloat16) write_selection<bfloat16>(split, head_dim, of_host);
  });
  return matrix;
}

// x [tokens, heads, head_dim] times op(selection).
Tensor multiplied(Context& context, const HeadSplit& split, const Tensor& x, Transpose transpose, int64_t num_heads) {
  const int64_t tokens = x.size(0), head_dim = x.size(2);
  const Tensor y = context.empty({tokens, num_heads, head_dim}, context.compute_dtype());
  context.kernels<LinearAlgebra>().gemm(context, {.b = transpose}, x.reshape({tokens, x.size(1) * head_dim}),
                                        selection(context, split, head_dim), y.reshape({tokens, num_heads * head_dim}));
  return y;
}

}  // namespace

Tensor repeat_heads(Context& context, const HeadSplit& split, const Tensor& x) {
  if (!split.repeats()) return x;
  return multiplied(context, split, x, Transpose::kYes, static_cast<int64_t>(split.kv_of.size()));
}

Tensor sum_repeated_heads(Context& context, const HeadSplit& split, const Tensor& dy) {
  if (!split.repeats()) return dy;
  return multiplied(context, split, dy, Transpose::kNo, split.kv.size());
}

}  // namespace longspan
