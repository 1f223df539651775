#include "core/tensor/tensor.h"

namespace longspan {

Tensor::Tensor(std::shared_ptr<void> storage, size_t storage_bytes, const Shape& shape, DType dtype)
    : storage_(std::move(storage)), storage_bytes_(storage_bytes), layout_(Layout::contiguous(shape)), dtype_(dtype) {
  check(num_bytes() <= storage_bytes, "shape {} of {} needs {} bytes, the storage has {}", shape.to_string(),
        name(dtype), num_bytes(), storage_bytes);
}

Tensor Tensor::slice(int dim, int64_t begin, int64_t end) const {
  Tensor t = *this;
  t.layout_ = layout_.slice(dim, begin, end);
  return t;
}

Tensor Tensor::every(int dim, int64_t step) const {
  Tensor t = *this;
  t.layout_ = layout_.every(dim, step);
  return t;
}

Tensor Tensor::select(int dim, int64_t index) const {
  Tensor t = *this;
  t.layout_ = layout_.select(dim, index);
  return t;
}

Tensor Tensor::reshape(const Shape& shape) const {
  Tensor t = *this;
  t.layout_ = layout_.reshape(shape);
  return t;
}

Tensor Tensor::over_rows(DType dtype) const {
  check(rank() == 2 && layout_.is_contiguous() && layout_.offset() == 0, "shape {} is not that of a whole matrix",
        shape().to_string());
  const size_t wide = size_bytes(dtype_), narrow = size_bytes(dtype);
  check(wide % narrow == 0, "{} does not lie over whole elements of {}", name(dtype), name(dtype_));
  Tensor t = *this;
  t.dtype_ = dtype;
  t.layout_ = Layout::contiguous({size(0), size(1) * static_cast<int64_t>(wide / narrow)}).slice(1, 0, size(1));
  return t;
}

void* Tensor::raw() const {
  check(defined(), "a tensor without storage was read");
  return static_cast<std::byte*>(storage_.get()) + static_cast<size_t>(layout_.offset()) * size_bytes(dtype_);
}

void Tensor::expect(DType dtype, int rank) const {
  check(dtype == dtype_, "a {} tensor was read as {}", name(dtype_), name(dtype));
  check(rank == this->rank(), "a tensor of shape {} was read with {} dims", shape().to_string(), rank);
}

void expect_shape(const Tensor& tensor, const Shape& shape, const char* what) {
  check(tensor.defined(), "{} is missing; its shape should be {}", what, shape.to_string());
  check(tensor.shape() == shape, "{} has shape {}, not {}", what, tensor.shape().to_string(), shape.to_string());
}

void expect_dtype(const Tensor& tensor, DType dtype, const char* what) {
  check(tensor.dtype() == dtype, "{} is {}, not {}", what, name(tensor.dtype()), name(dtype));
}

}  // namespace longspan
