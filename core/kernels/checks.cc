#include "core/kernels/checks.h"

#include <algorithm>

namespace longspan {

bool is_floating(DType dtype) {
  return dtype == DType::kFloat64 || dtype == DType::kFloat32 || dtype == DType::kBFloat16;
}

void expect_floating(const Tensor& tensor, const char* what) {
  check(tensor.defined(), "{} is missing", what);
  check(is_floating(tensor.dtype()), "{} is {}, which is not a floating dtype", what, name(tensor.dtype()));
}

void expect_rank(const Tensor& tensor, int rank, const char* what) {
  check(tensor.defined(), "{} is missing", what);
  check(tensor.rank() == rank, "{} has shape {}, which has {} dims and not {}", what,
        tensor.shape().to_string(), tensor.rank(), rank);
}

void expect_contiguous(const Tensor& tensor, const char* what) {
  check(tensor.layout().is_contiguous(), "{} of shape {} is not contiguous: its strides are {}", what,
        tensor.shape().to_string(), tensor.layout().strides().to_string());
}

void expect_rows(const Tensor& tensor, const char* what) {
  expect_floating(tensor, what);
  expect_rank(tensor, 2, what);
  expect_contiguous(tensor, what);
}

void expect_slice(const VocabularySlice& slice, int64_t held, const char* what) {
  check(slice.first >= 0 && slice.first + held <= slice.size, "{} holds entries [{}, {}) of a vocabulary of {}", what,
        slice.first, slice.first + held, slice.size);
}

void expect_dense(const Tensor& tensor, const Shape& shape, DType dtype, const char* what) {
  expect_shape(tensor, shape, what);
  expect_dtype(tensor, dtype, what);
  expect_contiguous(tensor, what);
}

void refuse_token(int32_t token, int64_t place, int64_t vocabulary, const char* what) {
  raise(ErrorKind::kData, "{} {} is {}, which is not in [0, {})", what, place, token, vocabulary);
}

}  // namespace longspan
