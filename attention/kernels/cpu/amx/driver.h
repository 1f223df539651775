// Pieces that the drivers of forward and backward share.
#pragma once

#include <algorithm>

#include "attention/kernels/cpu/amx/tile_attention.h"
#include "attention/kernels/cpu/task_parts.h"
#include "core/runtime/parallel.h"

namespace longspan::tile_driver {

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Span {
  int64_t begin = 0, end = 0;
};

// What any query of tiles [begin, end) sees; keys outside are not read.
Span seen_keys(const KeyIntervals& visible, Span tiles);

// Heads [kv_head * group, (kv_head + 1) * group) of a [tokens, heads, head_dim] tensor.
template <class T>
GroupRows<T> group_of(const Tensor& tensor, int64_t kv_head, int64_t group) {
  const auto view = tensor.view<std::remove_const_t<T>, 3>();
  return {view.data + kv_head * group * view.stride(1), view.stride(1), view.stride(0)};
}

// A float or bfloat16 array of the context's workspace, [rows][row_size], each row aligned to 64 bytes.
template <class T>
class Workspace {
 public:
  Workspace(const Context& context, int64_t num_rows, int64_t row_size)
      : row_size_(rounded_up(row_size, 32)),
        tensor_(context.empty({num_rows, row_size_}, dtype_of<T>(), MemoryTag::kWorkspace)) {}
  T* row(int64_t i) const { return tensor_.template data<T>() + i * row_size_; }

 private:
  int64_t row_size_;
  Tensor tensor_;
};

}  // namespace longspan::tile_driver
