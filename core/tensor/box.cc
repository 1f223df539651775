#include "core/tensor/box.h"

#include <algorithm>
#include <cstring>

#include "core/base/error.h"
#include "core/tensor/tensor.h"

namespace longspan {

namespace {

// Row-major place of what is at `at` of a tensor of this shape.
int64_t place(const Shape& shape, const Shape& at) {
  int64_t index = 0;
  for (int d = 0; d < shape.rank(); ++d) index = index * shape[d] + at[d];
  return index;
}

// From this dim on, the elements of a box lie together in its whole.
int first_dim_together(const Box& box) {
  int dim = box.whole.rank();
  while (dim > 0 && box.extent[dim - 1] == box.whole[dim - 1]) --dim;
  return std::max(dim - 1, 0);
}

// The first element of every stretch of dims [dim, rank) of the box, in the coordinates of the whole.
template <class Visit>
void for_each_stretch(const Box& box, int dim, const Visit& visit) {
  Shape at = box.begin;
  while (true) {
    visit(at);
    int d = dim - 1;
    while (d >= 0 && at[d] + 1 == box.begin[d] + box.extent[d]) {
      at[d] = box.begin[d];
      --d;
    }
    if (d < 0) return;
    ++at[d];
  }
}

}  // namespace

Box Box::all_of(const Shape& whole) {
  Box box{.whole = whole, .begin = whole, .extent = whole};
  for (int d = 0; d < whole.rank(); ++d) box.begin[d] = 0;
  return box;
}

Box Box::slice_of(const Shape& whole, int dim, int64_t first, int64_t end) {
  Box box = all_of(whole);
  box.begin[dim] = first;
  box.extent[dim] = end - first;
  expect_box(box, "a slice");
  return box;
}

std::string Box::to_string() const {
  std::string text;
  for (int d = 0; d < whole.rank(); ++d) text += fmt::format("{}{}:{}", d > 0 ? ", " : "", begin[d], begin[d] + extent[d]);
  return fmt::format("[{}] of {}", text, whole.to_string());
}

void expect_box(const Box& box, const char* what) {
  bool inside = box.begin.rank() == box.whole.rank() && box.extent.rank() == box.whole.rank();
  for (int d = 0; inside && d < box.whole.rank(); ++d) {
    inside = box.begin[d] >= 0 && box.extent[d] >= 0 && box.extent[d] <= box.whole[d] - box.begin[d];
  }
  check(inside, "{} has places {} and {} of {}", what, box.begin.to_string(), box.extent.to_string(), box.whole.to_string());
}

std::optional<Box> overlap(const Box& a, const Box& b) {
  check(a.whole == b.whole, "boxes of {} and of {}", a.whole.to_string(), b.whole.to_string());
  Box both = a;
  for (int d = 0; d < a.whole.rank(); ++d) {
    both.begin[d] = std::max(a.begin[d], b.begin[d]);
    both.extent[d] = std::min(a.begin[d] + a.extent[d], b.begin[d] + b.extent[d]) - both.begin[d];
    if (both.extent[d] <= 0) return std::nullopt;
  }
  return both;
}

void for_each_run(const Box& box, const BoxRun& visit) {
  if (box.num_elements() == 0) return;
  const int dim = first_dim_together(box);
  int64_t count = 1, in_box = 0;
  for (int d = dim; d < box.whole.rank(); ++d) count *= box.extent[d];
  for_each_stretch(box, dim, [&](const Shape& at) {
    visit(in_box, place(box.whole, at), count);
    in_box += count;
  });
}

std::vector<Box> boxes_of_range(const Box& box, int64_t first, int64_t end) {
  check(first >= 0 && first <= end && end <= box.num_elements(), "elements {} to {} of a box of {}", first, end,
        box.num_elements());
  if (first == end) return {};
  const int rank = box.whole.rank();
  if (rank == 1) return {Box::slice_of(box.whole, 0, box.begin[0] + first, box.begin[0] + end)};
  check(rank == 2, "ranges of a tensor of rank {}", rank);
  const int64_t width = box.extent[1];
  std::vector<Box> boxes;
  const auto add = [&](int64_t row, int64_t num_rows, int64_t column, int64_t num_columns) {
    boxes.push_back({.whole = box.whole,
                     .begin = {box.begin[0] + row, box.begin[1] + column},
                     .extent = {num_rows, num_columns}});
  };
  while (first < end) {
    const int64_t row = first / width, column = first % width;
    const bool whole_rows = column == 0 && end - first >= width;
    const int64_t num_rows = whole_rows ? (end - first) / width : 1;
    const int64_t num_columns = whole_rows ? width : std::min(width - column, end - first);
    add(row, num_rows, column, num_columns);
    first += num_rows * num_columns;
  }
  return boxes;
}

void copy_overlap(const Box& from, const void* source, const Box& to, void* destination, size_t element_bytes) {
  const std::optional<Box> both = overlap(from, to);
  if (!both) return;
  const auto* read = static_cast<const std::byte*>(source);
  auto* written = static_cast<std::byte*>(destination);
  const int last = both->whole.rank() - 1;
  check(last >= 0, "a scalar has no parts");
  const auto num_bytes = static_cast<size_t>(both->extent[last]) * element_bytes;
  for_each_stretch(*both, last, [&](Shape at) {
    Shape in_from = at, in_to = at;
    for (int d = 0; d <= last; ++d) {
      in_from[d] -= from.begin[d];
      in_to[d] -= to.begin[d];
    }
    std::memcpy(written + static_cast<size_t>(place(to.extent, in_to)) * element_bytes,
                read + static_cast<size_t>(place(from.extent, in_from)) * element_bytes, num_bytes);
  });
}

int64_t place_in(const Box& box, const Box& part) {
  Shape at = part.begin;
  for (int d = 0; d < at.rank(); ++d) at[d] -= box.begin[d];
  return place(box.extent, at);
}

Tensor part_of(const Tensor& tensor, const Box& box, const Box& part) {
  const bool inside = overlap(box, part) == part || part.num_elements() == 0;
  const Box in_box = {.whole = box.extent, .begin = {}, .extent = part.extent};
  const int dim = first_dim_together(in_box);
  int64_t stretches = 1;
  for (int d = 0; d < dim; ++d) stretches *= part.extent[d];
  check(inside && stretches == 1, "{} does not lie together in {}", part.to_string(), box.to_string());
  const int64_t begin = place_in(box, part), n = tensor.num_elements();
  return tensor.reshape({n}).slice(0, begin, begin + part.num_elements()).reshape(part.extent);
}

}  // namespace longspan
