// Rows that are fetched into cache while something else is computed. A document of some hundred tokens uses each of its
// rows for few products, so that waiting for rows shows; between two products there is time to ask for some.
#pragma once

#include "attention/kernels/cpu/head_tasks.h"

namespace longspan::LS_CPU_LEVEL {

// Some rows that nobody has asked for yet.
struct RowFetch {
  const char* row = nullptr;
  int64_t stride_bytes = 0, row_bytes = 0, num_rows = 0;

  RowFetch() = default;
  template <class T>
  RowFetch(Rows<T> rows, int64_t count, int64_t head_dim)
      : row(reinterpret_cast<const char*>(rows.data)),
        stride_bytes(rows.stride * static_cast<int64_t>(sizeof(T))),
        row_bytes(head_dim * static_cast<int64_t>(sizeof(T))),
        num_rows(count) {}

  // Two rows: a strip has half as many products of rows as keys, and what comes next is of about its size. Into the second
  // cache, since the first is full of what is being multiplied.
  void some() {
    constexpr int64_t kLine = 64;
    for (int i = 0; i < 2 && num_rows > 0; ++i, --num_rows) {
      for (int64_t byte = 0; byte < row_bytes; byte += kLine) __builtin_prefetch(row + byte, 0, 2);
      row += stride_bytes;
    }
  }
};

// What a task of forward fetches: the rows it will write, and what comes after it.
template <class T>
class ForwardFetches {
 public:
  explicit ForwardFetches(const ForwardTask<T>& task) {
    const int64_t first = task.first_tile * kLanes, rest = task.visible.num_queries - first;
    const int64_t own = task.num_tiles * kLanes < rest ? task.num_tiles * kLanes : rest;
    const Upcoming<T>& next = task.upcoming;
    fetches_[0] = {Rows<float>{task.output.data + first * task.output.stride, task.output.stride}, own, task.head_dim};
    fetches_[1] = {next.q, next.num_queries, task.head_dim};
    fetches_[2] = {next.k, next.num_keys, task.head_dim};
    fetches_[3] = {next.v, next.num_keys, task.head_dim};
  }
  void some() {
    for (RowFetch& fetch : fetches_) fetch.some();
  }

 private:
  RowFetch fetches_[4];
};

}  // namespace longspan::LS_CPU_LEVEL
