#include "core/kernels/cuda/kernels.h"
#include "core/kernels/cuda/rows.h"

namespace longspan::LS_CUDA {

namespace {

template <class T, int kWidth>
__global__ void gather_kernel(EmbeddingShape s, const int32_t* tokens, const T* table, T* y) {
  for_each_row(s.tokens, [&](int64_t t) {
    const int32_t token = load_global(tokens + t);
    const bool known = token >= 0 && token < s.vocabulary;
    const int64_t row = token - s.first;
    const bool held = row >= 0 && row < s.rows;
    for_each_piece_of_row<kWidth>(s.n, [&]<int w>(int64_t i, Width<w>) {
      Floats<w> values;
      if (held) {
        values = load_floats<w>(table + row * s.n + i);
      } else {
#pragma unroll
        for (int j = 0; j < w; ++j) values[j] = known ? 0.0f : bits_to_float(0x7fc00000u);
      }
      store_floats(y + t * s.n + i, values);
    });
  });
}

constexpr int kScatterThreads = 256, kTokensOfBlock = 64;  // rows of the table that a block has

// A block has some rows of the table, and looks through all tokens for them: kScatterThreads at a time, found by votes and
// written down in order. A thread has its own columns, so that each sum is in the order of tokens without more barriers.
template <class T, int kWidth>
__global__ void scatter_add_kernel(EmbeddingShape s, const int32_t* tokens, const T* dy, float* dtable) {
  const int64_t first_row = static_cast<int64_t>(block_index().x) * kTokensOfBlock;
  const int thread = thread_index(), warp = thread / kWarpSize;
  const uint32_t counts = shared_base(), found = counts + 4 * (kScatterThreads / kWarpSize);
  for (int64_t begin = 0; begin < s.tokens; begin += kScatterThreads) {
    const int64_t t = begin + thread;
    const int64_t row = t < s.tokens ? load_global(tokens + t) - s.first : -1;
    const bool mine = row >= first_row && row < least(first_row + kTokensOfBlock, s.rows);
    const uint32_t votes = ballot(kAllLanes, mine);
    if (lane_index() == 0) store_shared<int>(counts + 4 * warp, count_bits(votes));
    sync_block();
    int before = 0, all = 0;
    for (int each = 0; each < kScatterThreads / kWarpSize; ++each) {
      const int count = load_shared<int>(counts + 4 * each);
      if (each < warp) before += count;
      all += count;
    }
    before += count_bits(votes & ((1u << lane_index()) - 1));
    if (mine) store_shared<int>(found + 4 * before, thread);
    sync_block();
    for (int k = 0; k < all; ++k) {
      const int64_t which = begin + load_shared<int>(found + 4 * k);
      float* const sum = dtable + (load_global(tokens + which) - s.first) * s.n;
      for_each_piece_of_row<kWidth>(s.n, [&]<int w>(int64_t i, Width<w>) {
        Floats<w> sums = load_floats<w>(sum + i);
        const Floats<w> values = load_floats<w>(dy + which * s.n + i);
#pragma unroll
        for (int j = 0; j < w; ++j) sums[j] += values[j];
        store_floats(sum + i, sums);
      });
    }
  }
}

}  // namespace

void launch_gather(NativeStream stream, DType dtype, const EmbeddingShape& s, const int32_t* tokens, const void* table,
                   void* y) {
  with_elements(dtype, rows_aligned(dtype, s.n, table, y), [&]<class T, int w>(T, Width<w>) {
    launch(stream, gather_kernel<T, w>, shape_for_rows(s.tokens, s.n / w), s, tokens, static_cast<const T*>(table),
           static_cast<T*>(y));
  });
}

void launch_scatter_add(NativeStream stream, DType dtype, const EmbeddingShape& s, const int32_t* tokens, const void* dy,
                        float* dtable) {
  LaunchShape shape;
  shape.grid[0] = static_cast<unsigned>((s.rows + kTokensOfBlock - 1) / kTokensOfBlock);
  shape.threads = kScatterThreads;
  shape.shared_bytes = 4 * (kScatterThreads + kScatterThreads / kWarpSize);
  with_elements(dtype, rows_aligned(dtype, s.n, dy, dtable), [&]<class T, int w>(T, Width<w>) {
    launch(stream, scatter_add_kernel<T, w>, shape, s, tokens, static_cast<const T*>(dy), dtable);
  });
}

}  // namespace longspan::LS_CUDA
