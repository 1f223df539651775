// Tensor: a shared handle to storage, with a layout and a dtype. Copying copies the handle; a view is a tensor with
// another layout over the same storage. Constness is that of the handle, not of the elements.
// Storage lives until the last handle goes; memory resources and communicators rely on that.
#pragma once

#include <cstddef>
#include <memory>

#include "core/base/error.h"
#include "core/tensor/dtype.h"
#include "core/tensor/layout.h"
#include "core/tensor/view.h"

namespace longspan {

class Tensor {
 public:
  Tensor() = default;  // holds nothing; defined() is false
  // Takes `storage`, which must hold the layout's elements from its first byte on.
  Tensor(std::shared_ptr<void> storage, size_t storage_bytes, const Shape& shape, DType dtype);

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return layout_.shape(); }
  const Layout& layout() const { return layout_; }
  DType dtype() const { return dtype_; }
  int rank() const { return shape().rank(); }
  int64_t size(int dim) const { return shape()[dim]; }
  int64_t num_elements() const { return shape().num_elements(); }
  size_t num_bytes() const { return static_cast<size_t>(num_elements()) * size_bytes(dtype_); }

  // Identity and size of the storage, so that bytes shared by several tensors are counted once.
  const void* storage_id() const { return storage_.get(); }
  size_t storage_bytes() const { return storage_bytes_; }

  Tensor slice(int dim, int64_t begin, int64_t end) const;
  Tensor every(int dim, int64_t step) const;  // 0, step, 2 step, ... of the dim
  Tensor select(int dim, int64_t index) const;
  Tensor reshape(const Shape& shape) const;  // contiguous tensors only
  // A matrix of a narrower dtype over the beginnings of this one's rows: what is written there overwrites it. For contiguous
  // matrices at the beginning of their storage.
  Tensor over_rows(DType dtype) const;

  // First element of the layout; untyped for communication and copies.
  void* raw() const;
  // Typed access; raises unless T is the dtype. `data` also wants a contiguous layout.
  template <class T>
  T* data() const;
  template <class T, int Rank>
  View<T, Rank> view() const;

 private:
  void expect(DType dtype, int rank) const;

  std::shared_ptr<void> storage_;
  size_t storage_bytes_ = 0;
  Layout layout_;
  DType dtype_ = DType::kFloat32;
};

// Raises unless the tensor has this shape and dtype; `what` names it in the message.
void expect_shape(const Tensor& tensor, const Shape& shape, const char* what);
void expect_dtype(const Tensor& tensor, DType dtype, const char* what);

template <class T>
T* Tensor::data() const {
  expect(dtype_of<T>(), rank());
  check(layout_.is_contiguous(), "a tensor of shape {} is not contiguous", shape().to_string());
  return static_cast<T*>(raw());
}

template <class T, int Rank>
View<T, Rank> Tensor::view() const {
  expect(dtype_of<T>(), Rank);
  View<T, Rank> view;
  view.data = static_cast<T*>(raw());
  for (int i = 0; i < Rank; ++i) {
    view.sizes[static_cast<size_t>(i)] = shape()[i];
    view.strides[static_cast<size_t>(i)] = layout_.strides()[i];
  }
  return view;
}

}  // namespace longspan
