// The families of the cpu backend, and what they share: dispatch on the dtype, and division of work.
#pragma once

#include <algorithm>
#include <type_traits>

#include "core/base/cache_size.h"
#include "core/kernels/activation.h"
#include "core/kernels/checks.h"
#include "core/kernels/cpu/vector_loops.h"
#include "core/kernels/elementwise.h"
#include "core/kernels/embedding.h"
#include "core/kernels/linear_algebra.h"
#include "core/kernels/loss.h"
#include "core/kernels/normalization.h"
#include "core/kernels/optimizer.h"
#include "core/kernels/rotary.h"
#include "core/runtime/parallel.h"

namespace longspan::cpu {

std::shared_ptr<const LinearAlgebra> make_linear_algebra(CpuLevel level);
std::shared_ptr<const Normalization> make_normalization(CpuLevel level, size_t cache_bytes);
std::shared_ptr<const Rotary> make_rotary(CpuLevel level);
std::shared_ptr<const Activation> make_activation(CpuLevel level, size_t cache_bytes);
std::shared_ptr<const Loss> make_loss(CpuLevel level);
std::shared_ptr<const Embedding> make_embedding(CpuLevel level, size_t cache_bytes);
std::shared_ptr<const OptimizerKernels> make_optimizer(CpuLevel level);
std::shared_ptr<const Elementwise> make_elementwise(CpuLevel level, size_t cache_bytes);

// Calls body(std::type_identity<T>) with the element type of `dtype`, or refuses it in the name of the
// family.
template <class Family, class Body>
void with_element_type(DType dtype, Body&& body) {
  expect_supported(dtype, {DType::kFloat32, DType::kBFloat16}, "cpu", Family::kName);
  if (dtype == DType::kFloat32) {
    body(std::type_identity<float>{});
  } else {
    body(std::type_identity<bfloat16>{});
  }
}

// Stores around the cache spare the reading of each line that is overwritten, but the next kernel finds nothing in cache.
// So they are for calls that move more than the cache holds, after which it would find little there anyway.
inline Stores stores_of_call(size_t moved_bytes, size_t cache_bytes) {
  return moved_bytes > cache_bytes ? Stores::kStreaming : Stores::kCached;
}

// A thread is worth waking for this many elements; it takes some microseconds.
constexpr int64_t kElementsPerThread = 16384;

// Calls body(begin, count) over [0, n), cut at multiples of a block so that threads share no cache line.
template <class Body>
void for_elements(const Context& context, int64_t n, Body&& body) {
  constexpr int64_t kBlock = 1024;
  parallel_for(
      context, (n + kBlock - 1) / kBlock, kElementsPerThread / kBlock,
      [&](int64_t begin, int64_t end) { body(begin * kBlock, std::min(n, end * kBlock) - begin * kBlock); });
}

// Calls body(begin, count) over rows of `row_elements` elements each.
template <class Body>
void for_rows(const Context& context, int64_t rows, int64_t row_elements, Body&& body) {
  const int64_t grain = std::max<int64_t>(1, kElementsPerThread / std::max<int64_t>(1, row_elements));
  parallel_for(context, rows, grain, [&](int64_t begin, int64_t end) { body(begin, end - begin); });
}

// Calls body(begin, count) over columns, for sums over rows: a thread owns its columns and sums all rows in
// order.
template <class Body>
void for_columns(const Context& context, int64_t rows, int64_t columns, Body&& body) {
  constexpr int64_t kStrip = 64;
  const int64_t grain = std::max<int64_t>(1, kElementsPerThread / (kStrip * std::max<int64_t>(1, rows)));
  parallel_for(context, (columns + kStrip - 1) / kStrip, grain, [&](int64_t begin, int64_t end) {
    body(begin * kStrip, std::min(columns, end * kStrip) - begin * kStrip);
  });
}

// sum[c] += the sum over rows of column c. Rows are summed in blocks of a fixed size by body(first row, rows, sums), and
// the blocks' sums in order: the same bits for any number of threads, and memory is read as it lies.
template <class Body>
void sum_over_rows(const Context& context, CpuLevel level, int64_t rows, int64_t columns, float* sum, Body&& body) {
  constexpr int64_t kRows = ColumnSums<float>::kRows;
  const int64_t blocks = (rows + kRows - 1) / kRows;
  const Tensor parts = context.empty({blocks, columns}, DType::kFloat32, MemoryTag::kWorkspace);
  float* part = parts.data<float>();
  for_rows(context, blocks, kRows * columns, [&](int64_t begin, int64_t count) {
    for (int64_t b = begin; b < begin + count; ++b) {
      body(b * kRows, std::min(kRows, rows - b * kRows), part + b * columns);
    }
  });
  for_columns(context, blocks, columns, [&](int64_t begin, int64_t count) {
    vector_loops<float>(level).add_parts(blocks, count, columns, part + begin, sum + begin);
  });
}

}  // namespace longspan::cpu
