// Layout: how the elements of a tensor lie in its storage: shape, strides and offset, all in elements.
// A value of its own, apart from storage; views of a tensor differ only in their layout.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

namespace longspan {

constexpr int kMaxRank = 5;

class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> sizes);

  int rank() const { return rank_; }
  int64_t operator[](int dim) const { return sizes_[static_cast<size_t>(dim)]; }
  int64_t& operator[](int dim) { return sizes_[static_cast<size_t>(dim)]; }
  int64_t num_elements() const;  // 1 for a scalar
  void append(int64_t size);
  bool operator==(const Shape& other) const;
  std::string to_string() const;  // "[2, 3]"

 private:
  int rank_ = 0;
  std::array<int64_t, kMaxRank> sizes_{};
};

class Layout {
 public:
  Layout() = default;
  static Layout contiguous(const Shape& shape);  // row-major

  const Shape& shape() const { return shape_; }
  const Shape& strides() const { return strides_; }
  int64_t offset() const { return offset_; }
  // Row-major without gaps, whatever the offset; dims of size 1 and empty tensors do not matter.
  bool is_contiguous() const;

  Layout slice(int dim, int64_t begin, int64_t end) const;  // [begin, end) of one dim
  Layout every(int dim, int64_t step) const;                // 0, step, 2 step, ... of one dim
  Layout select(int dim, int64_t index) const;              // one index of a dim; the dim disappears
  Layout reshape(const Shape& shape) const;                 // same elements; contiguous layouts only

 private:
  Shape shape_, strides_;
  int64_t offset_ = 0;
};

}  // namespace longspan
