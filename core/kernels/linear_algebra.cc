#include "core/kernels/linear_algebra.h"

#include <algorithm>

#include "core/kernels/checks.h"

namespace longspan {

namespace {

void expect_matrix(const Tensor& matrix, const char* what) {
  expect_floating(matrix, what);
  expect_rank(matrix, 2, what);
  const Shape& strides = matrix.layout().strides();
  check(matrix.size(1) <= 1 || strides[1] == 1, "the columns of {} are {} elements apart, not 1", what,
        strides[1]);
  check(matrix.size(0) <= 1 || strides[0] >= matrix.size(1),
        "the rows of {} are {} elements apart, fewer than its {} columns", what, strides[0], matrix.size(1));
}

}  // namespace

int64_t row_distance(const Tensor& matrix) {
  return std::max<int64_t>({1, matrix.size(1), matrix.size(0) > 1 ? matrix.layout().strides()[0] : 0});
}

void LinearAlgebra::gemm(const Context& context, const GemmOptions& options, const Tensor& a, const Tensor& b,
                         const Tensor& c) const {
  expect_matrix(a, "a");
  expect_matrix(b, "b");
  expect_matrix(c, "c");
  expect_dtype(b, a.dtype(), "b");
  check(c.dtype() == a.dtype() || c.dtype() == accumulator(a.dtype()),
        "c is {}, which is neither the {} of a and b nor its accumulator", name(c.dtype()), name(a.dtype()));
  const bool a_transposed = options.a == Transpose::kYes, b_transposed = options.b == Transpose::kYes;
  const int64_t m = a.size(a_transposed ? 1 : 0), k = a.size(a_transposed ? 0 : 1);
  const int64_t b_rows = b.size(b_transposed ? 1 : 0), n = b.size(b_transposed ? 0 : 1);
  check(b_rows == k, "op(a) is [{}, {}] but op(b) is [{}, {}]", m, k, b_rows, n);
  expect_shape(c, {m, n}, "c");
  if (m == 0 || n == 0 || (k == 0 && options.write == Write::kAccumulate)) return;
  do_gemm(context, options, a, b, c);
}

Tensor LinearAlgebra::pack(const Context& context, Transpose transpose, const Tensor& b, const Tensor& reused) const {
  expect_matrix(b, "b");
  return b.num_elements() > 0 ? do_pack(context, transpose, b, reused) : Tensor();
}

Tensor LinearAlgebra::do_pack(const Context&, Transpose, const Tensor&, const Tensor&) const { return {}; }

}  // namespace longspan
