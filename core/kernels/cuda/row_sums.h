// Sums over rows, column by column, in an order that follows from the shape alone: chunks of rows into parts, and the parts in
// their order.
#pragma once

#include "core/kernels/cuda/kernels.h"
#include "core/kernels/cuda/rows.h"

namespace longspan::LS_CUDA {

constexpr int kSumWarps = 8;  // of a block, which share the rows of a chunk

// parts[chunk, i] = the sum over the chunk's rows of term(row, i). Blocks: columns along x, chunks along y.
template <int kWidth, class Term>
__global__ void row_sums_kernel(int64_t rows, int64_t n, int64_t rows_of_chunk, Term term, float* parts) {
  const int warp = thread_index() / kWarpSize, lane = lane_index();
  const int64_t column = (static_cast<int64_t>(block_index().x) * kWarpSize + lane) * kWidth, chunk = block_index().y;
  const int64_t end = least((chunk + 1) * rows_of_chunk, rows);
  Floats<kWidth> sums{};
  if (column < n) {
    for (int64_t row = chunk * rows_of_chunk + warp; row < end; row += kSumWarps) {
      const Floats<kWidth> terms = term(row, column, Width<kWidth>{});
#pragma unroll
      for (int j = 0; j < kWidth; ++j) sums[j] += terms[j];
    }
  }
  // [warp, width, lane], so that lanes are neighbours
  const auto place = [&](int of_warp, int j) { return shared_base() + 4 * ((of_warp * kWidth + j) * kWarpSize + lane); };
#pragma unroll
  for (int j = 0; j < kWidth; ++j) store_shared(place(warp, j), sums[j]);
  sync_block();
  if (column >= n) return;
  for (int j = warp; j < kWidth; j += kSumWarps) {
    float sum = 0;
    for (int of_warp = 0; of_warp < kSumWarps; ++of_warp) sum += load_shared<float>(place(of_warp, j));
    store_global(parts + chunk * n + column + j, sum);
  }
}

// sum[i] += parts of all chunks
inline __global__ void add_parts_kernel(int64_t chunks, int64_t n, const float* parts, float* sum) {
  for_each_piece<1>(n, [&](int64_t i, Width<1>) {
    float total = 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) total += load_global(parts + chunk * n + i);
    store_global(sum + i, load_global(sum + i) + total);
  });
}

// sum [n] += the sum of term over all rows; parts [row_sum_chunks(rows), n]. Term: Floats<w> of (row, column, Width<w>).
template <int kWidth, class Term>
void launch_row_sums(NativeStream stream, int64_t rows, int64_t n, const Term& term, float* parts, float* sum) {
  const int64_t chunks = row_sum_chunks(rows), columns_of_block = kWarpSize * kWidth;
  LaunchShape shape;
  shape.grid[0] = static_cast<unsigned>((n + columns_of_block - 1) / columns_of_block);
  shape.grid[1] = static_cast<unsigned>(chunks);
  shape.threads = kSumWarps * kWarpSize;
  shape.shared_bytes = kSumWarps * kWidth * kWarpSize * sizeof(float);
  launch(stream, row_sums_kernel<kWidth, Term>, shape, rows, n, (rows + chunks - 1) / chunks, term, parts);
  launch(stream, add_parts_kernel, shape_for_pieces(n), chunks, n, static_cast<const float*>(parts), sum);
}

}  // namespace longspan::LS_CUDA
