#include "core/tensor/layout.h"

#include "core/base/error.h"

namespace longspan {

Shape::Shape(std::initializer_list<int64_t> sizes) {
  for (int64_t s : sizes) append(s);
}

void Shape::append(int64_t size) {
  check(rank_ < kMaxRank, "a shape has at most {} dims", kMaxRank);
  sizes_[static_cast<size_t>(rank_++)] = size;
}

int64_t Shape::num_elements() const {
  int64_t n = 1;
  for (int i = 0; i < rank_; ++i) n *= (*this)[i];
  return n;
}

bool Shape::operator==(const Shape& other) const {
  if (rank_ != other.rank_) return false;
  for (int i = 0; i < rank_; ++i) {
    if ((*this)[i] != other[i]) return false;
  }
  return true;
}

std::string Shape::to_string() const {
  std::string text = "[";
  for (int i = 0; i < rank_; ++i) text += (i ? ", " : "") + std::to_string((*this)[i]);
  return text + "]";
}

Layout Layout::contiguous(const Shape& shape) {
  Layout layout;
  layout.shape_ = layout.strides_ = shape;
  int64_t stride = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    check(shape[i] >= 0, "dim {} of shape {} is negative", i, shape.to_string());
    layout.strides_[i] = stride;
    stride *= shape[i];
  }
  return layout;
}

bool Layout::is_contiguous() const {
  if (shape_.num_elements() == 0) return true;
  int64_t stride = 1;
  for (int i = shape_.rank() - 1; i >= 0; --i) {
    if (shape_[i] != 1 && strides_[i] != stride) return false;
    stride *= shape_[i];
  }
  return true;
}

Layout Layout::slice(int dim, int64_t begin, int64_t end) const {
  check(dim >= 0 && dim < shape_.rank(), "dim {} of shape {} does not exist", dim, shape_.to_string());
  check(0 <= begin && begin <= end && end <= shape_[dim], "slice [{}, {}) leaves dim {} of shape {}", begin, end,
        dim, shape_.to_string());
  Layout layout = *this;
  layout.shape_[dim] = end - begin;
  layout.offset_ += begin * strides_[dim];
  return layout;
}

Layout Layout::every(int dim, int64_t step) const {
  check(dim >= 0 && dim < shape_.rank(), "dim {} of shape {} does not exist", dim, shape_.to_string());
  check(step >= 1, "every {}th of a dim", step);
  Layout layout = *this;
  layout.shape_[dim] = (shape_[dim] + step - 1) / step;
  layout.strides_[dim] *= step;
  return layout;
}

Layout Layout::select(int dim, int64_t index) const {
  const Layout one = slice(dim, index, index + 1);
  Layout layout;
  layout.offset_ = one.offset_;
  for (int i = 0; i < shape_.rank(); ++i) {
    if (i == dim) continue;
    layout.shape_.append(one.shape_[i]);
    layout.strides_.append(one.strides_[i]);
  }
  return layout;
}

Layout Layout::reshape(const Shape& shape) const {
  check(is_contiguous(), "only a contiguous tensor can be reshaped; this one of shape {} is not", shape_.to_string());
  check(shape.num_elements() == shape_.num_elements(), "shape {} does not hold the elements of {}",
        shape.to_string(), shape_.to_string());
  Layout layout = contiguous(shape);
  layout.offset_ = offset_;
  return layout;
}

}  // namespace longspan
