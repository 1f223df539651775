// Box: the part of a whole tensor that somebody holds: places [begin, begin + extent) of every dim. It is stored row-major and
// by itself; its elements are known by their place in the whole, which is row-major, too.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "core/tensor/layout.h"

namespace longspan {

class Tensor;

struct Box {
  Shape whole, begin, extent;  // of one rank; begin + extent within whole

  static Box all_of(const Shape& whole);
  // Places [first, end) of one dim, all of the others.
  static Box slice_of(const Shape& whole, int dim, int64_t first, int64_t end);

  bool is_all() const { return extent == whole; }
  int64_t num_elements() const { return extent.num_elements(); }
  bool operator==(const Box&) const = default;
  std::string to_string() const;  // "[2:4, 0:3] of [6, 3]"
};

// Raises unless the box lies within its whole.
void expect_box(const Box& box, const char* what);

// None where they share no element. Both of one whole.
std::optional<Box> overlap(const Box& a, const Box& b);

// Elements that lie together in the box and in the whole, in order: `count` of them from `in_box` of the box are those from
// `in_whole` of the whole.
using BoxRun = std::function<void(int64_t in_box, int64_t in_whole, int64_t count)>;
void for_each_run(const Box& box, const BoxRun& visit);

// Elements [first, end) of the box's storage as boxes of the same whole, in that order; of a matrix at most three (the rest of a
// row, whole rows, the beginning of a row). Rank 1 or 2.
std::vector<Box> boxes_of_range(const Box& box, int64_t first, int64_t end);

// What the two share goes from the storage of one to that of the other.
void copy_overlap(const Box& from, const void* source, const Box& to, void* destination, size_t element_bytes);

// Where the first element of `part`, which lies in the box, is in the box's storage.
int64_t place_in(const Box& box, const Box& part);

// Of a contiguous tensor that holds the box, what holds `part`: rows, or some of one row, which lie together.
Tensor part_of(const Tensor& tensor, const Box& box, const Box& part);

}  // namespace longspan
