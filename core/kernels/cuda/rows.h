// For kernels of which a block does one row at a time.
#pragma once

#include "core/kernels/cuda/ptx/elements.h"
#include "core/kernels/cuda/ptx/barrier.h"
#include "core/kernels/cuda/ptx/warp.h"

namespace longspan::LS_CUDA {

constexpr unsigned kMostRowThreads = 256, kRowSharedBytes = kMostRowThreads / kWarpSize * sizeof(float);
constexpr int64_t kMostRowBlocks = 4096;

// body(first element, Width<w>{}) for each piece of a row, by the threads of the block. Rows of vectors have no rest.
template <int kWidth, class Body>
LS_DEVICE void for_each_piece_of_row(int64_t n, Body body) {
  for (int64_t i = thread_index() * kWidth; i < n; i += num_threads() * kWidth) body(i, Width<kWidth>{});
}

template <class Body>
LS_DEVICE void for_each_row(int64_t rows, Body body) {
  for (int64_t row = block_index().x; row < rows; row += num_blocks().x) body(row);
}

// The combination of all threads' values, the same in each, by warps and then in their order. kRowSharedBytes of shared memory.
template <class Combine, class OverWarp>
LS_DEVICE float over_block(float value, OverWarp over_warp, Combine combine) {
  const uint32_t shared = shared_base();
  value = over_warp(value);
  if (lane_index() == 0) store_shared(shared + 4 * (thread_index() / kWarpSize), value);
  sync_block();
  float all = load_shared<float>(shared);
  for (int warp = 1; warp < num_threads() / kWarpSize; ++warp) all = combine(all, load_shared<float>(shared + 4 * warp));
  sync_block();
  return all;
}
LS_DEVICE float sum_over_block(float value) {
  return over_block(value, [](float x) { return sum_over_warp(x); }, [](float a, float b) { return a + b; });
}
LS_DEVICE float max_over_block(float value) {
  return over_block(value, [](float x) { return max_over_warp(x); }, [](float a, float b) { return maximum(a, b); });
}

// On the host: as many threads as a row has pieces, in whole warps.
inline LaunchShape shape_for_rows(int64_t rows, int64_t pieces_of_row) {
  LaunchShape shape;
  shape.grid[0] = static_cast<unsigned>(rows < kMostRowBlocks ? rows : kMostRowBlocks);
  const int64_t threads = (pieces_of_row + kWarpSize - 1) / kWarpSize * kWarpSize;
  shape.threads = threads < 1 ? kWarpSize : threads < kMostRowThreads ? static_cast<unsigned>(threads) : kMostRowThreads;
  shape.shared_bytes = kRowSharedBytes;
  return shape;
}

// Whether every row of n elements starts where vectors may: pointers and the length of a row are multiples of 16 bytes.
template <class... Pointers>
bool rows_aligned(DType dtype, int64_t n, const Pointers*... pointers) {
  return static_cast<size_t>(n) * size_bytes(dtype) % 16 == 0 && all_aligned(pointers...);
}

}  // namespace longspan::LS_CUDA
