// A dense product as cuBLASLt wants it said: in matrices that are stored by columns.
//
// The rows of a row-major matrix are the columns of its transpose, byte for byte. So c = op(a) op(b) is asked for as
// c^T = op(b)^T op(a)^T: the operands change sides, and what was transposed in memory still is.
#pragma once

#include <compare>
#include <cstdint>

#include "core/kernels/cuda/ptx/namespace.h"
#include "core/kernels/linear_algebra.h"

namespace longspan::LS_CUDA {

// As stored; `ld` elements from one column to the next.
struct ColumnMatrix {
  int64_t rows = 0, columns = 0, ld = 1;
  DType dtype = DType::kFloat32;
  uint32_t alignment = 1;  // in bytes, of the first element; a power of two, and no more than kernels ask for
  auto operator<=>(const ColumnMatrix&) const = default;
};

// output (+)= op(left) op(right). Equal products are equal to the library: what is best for one is for the other.
struct ColumnProduct {
  ColumnMatrix left, right, output;
  Transpose left_transpose = Transpose::kNo, right_transpose = Transpose::kNo;
  Write write = Write::kAssign;
  auto operator<=>(const ColumnProduct&) const = default;

  int64_t depth() const { return left_transpose == Transpose::kYes ? left.rows : left.columns; }
  double multiplications() const {
    return static_cast<double>(output.rows) * static_cast<double>(output.columns) * static_cast<double>(depth());
  }
};

// Of what LinearAlgebra::gemm lets through. b is on the left.
ColumnProduct describe_product(const GemmOptions& options, const Tensor& a, const Tensor& b, const Tensor& c);

}  // namespace longspan::LS_CUDA
