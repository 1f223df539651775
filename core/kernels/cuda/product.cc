#include "core/kernels/cuda/product.h"

#include <algorithm>

namespace longspan::LS_CUDA {

namespace {

constexpr uint64_t kMostAlignment = 16;  // of vector and bulk copies

ColumnMatrix describe(const Tensor& matrix) {
  const uint64_t address = reinterpret_cast<uint64_t>(matrix.raw()) | kMostAlignment;
  return {.rows = matrix.size(1),
          .columns = matrix.size(0),
          .ld = row_distance(matrix),
          .dtype = matrix.dtype(),
          .alignment = static_cast<uint32_t>(address & (~address + 1))};
}

}  // namespace

ColumnProduct describe_product(const GemmOptions& options, const Tensor& a, const Tensor& b, const Tensor& c) {
  return {.left = describe(b),
          .right = describe(a),
          .output = describe(c),
          .left_transpose = options.b,
          .right_transpose = options.a,
          .write = options.write};
}

}  // namespace longspan::LS_CUDA
