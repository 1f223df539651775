// Tiles of bfloat16 in shared memory for matrix instructions: brought by cp.async, read by ldmatrix.
//
// A tile is rows of kWidth elements; its 16-byte pieces are permuted by the row, so that the eight rows of an 8 x 8 matrix lie in
// different banks: piece ^ row % 8 where rows are multiples of all banks; where they are 1.5 times that, every second row begins
// half the banks further, and only four pieces are permuted. Heads narrower than kWidth are filled up with zeros, which add
// nothing.
#pragma once

#include "attention/kernels/cuda/kernels.h"
#include "core/kernels/cuda/ptx/barrier.h"
#include "core/kernels/cuda/ptx/copy.h"
#include "core/kernels/cuda/ptx/launch.h"
#include "core/kernels/cuda/ptx/math.h"
#include "core/kernels/cuda/ptx/matrix.h"
#include "core/kernels/cuda/ptx/memory.h"
#include "core/kernels/cuda/ptx/warp.h"

namespace longspan::LS_CUDA {

constexpr float kLog2E = 1.44269504088896340736f, kLn2 = 0.69314718055994530942f, kMinusInfinity = -__builtin_inff();
constexpr int kPieceElements = 8;  // bfloat16 in 16 bytes

template <int kWidth>
struct MatrixTile {
  static constexpr int kRowBytes = kWidth * 2, kPieces = kWidth / kPieceElements;
  static_assert(kPieces % 8 == 0 || kPieces % 8 == 4, "pieces are permuted among eight or four");
  uint32_t base;

  LS_DEVICE uint32_t at(int row, int piece) const {
    const int permuted = kPieces % 8 == 0 ? piece ^ (row & 7) : piece ^ (row >> 1 & 3);
    return base + row * kRowBytes + (permuted << 4);
  }

  // Starts copies of kRows rows from token `first` on; rows outside of [begin, end) are zeros.
  template <int kRows>
  LS_DEVICE void load(const Strided& from, int head, int first, int begin, int end, int head_dim) const {
    const auto* const base_row = static_cast<const bfloat16*>(from.data) + head * from.head_stride;
    for (int i = thread_index(); i < kRows * kPieces; i += num_threads()) {
      const int row = i / kPieces, piece = i % kPieces, token = first + row;
      const bool inside = token >= begin && token < end && piece * kPieceElements < head_dim;
      const bfloat16* const source = base_row + (inside ? token * from.token_stride + piece * kPieceElements : 0);
      copy_async(at(row, piece), source, inside ? 16 : 0);
    }
  }

  // The place of a lane's row and piece of a fragment whose first row is a multiple of 8 and whose first piece is even: permuting
  // is among the lane's part of both, and the rest is a constant further, so that few places have to be kept.
  LS_DEVICE uint32_t at_fragment(int row, int row_of_lane, int first_piece, int piece_of_lane) const {
    constexpr int kPermuted = kPieces % 8 == 0 ? 8 : 4;
    return at(row_of_lane, first_piece % kPermuted + piece_of_lane) + row * kRowBytes + first_piece / kPermuted * kPermuted * 16;
  }

  // A: rows [row, row + 16), columns [16 step, 16 step + 16).
  LS_DEVICE void load_a(uint32_t (&fragment)[4], int row, int step) const {
    const int lane = lane_index();
    load_matrices(fragment, at_fragment(row, lane % 16, 2 * step, lane / 16));
  }
  // B of two neighbouring tiles of 8 columns n: B[k, n] = tile[row + n, 16 step + k]; fragment[2 i], [2 i + 1] are tile i's.
  LS_DEVICE void load_b_of_rows(uint32_t (&fragment)[4], int row, int step) const {
    const int lane = lane_index();
    load_matrices(fragment, at_fragment(row, lane / 16 * 8 + lane % 8, 2 * step, lane / 8 % 2));
  }
  // B[k, n] = tile[row + k, column + n], 16 rows and 16 columns from 16 * pair on.
  LS_DEVICE void load_b_of_columns(uint32_t (&fragment)[4], int row, int pair) const {
    const int lane = lane_index();
    load_matrices_transposed(fragment, at_fragment(row, lane % 16, 2 * pair, lane / 16));
  }
};

// A warp's sums [16 rows, kColumns], kRowTiles times one below the other: what is fetched of the other operand serves all of
// them.
template <int kRowTiles, int kColumns>
using Sums = float[kRowTiles][kColumns / 8][4];

// sums += the rows of a from row_a on, times the rows of b as columns.
template <int kColumns, int kRowTiles, int kWidth>
LS_DEVICE void multiply_rows_by_rows(float (&sums)[kRowTiles][kColumns / 8][4], const MatrixTile<kWidth>& a, int row_a,
                                     const MatrixTile<kWidth>& b) {
#pragma unroll
  for (int step = 0; step < kWidth / 16; ++step) {
    uint32_t fragment_a[kRowTiles][4];
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) a.load_a(fragment_a[r], row_a + 16 * r, step);
#pragma unroll
    for (int n = 0; n < kColumns / 16; ++n) {
      uint32_t fragment_b[4];
      b.load_b_of_rows(fragment_b, 16 * n, step);
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
        multiply_16x8x16(sums[r][2 * n], fragment_a[r], fragment_b[0], fragment_b[1]);
        multiply_16x8x16(sums[r][2 * n + 1], fragment_a[r], fragment_b[2], fragment_b[3]);
      }
    }
  }
}

// sums [.., kWidth] += weights [.., kRows] rows [kRows, kWidth]; the weights as they came out of a product.
template <int kRows, int kRowTiles, int kWidth>
LS_DEVICE void multiply_weights_by_rows(float (&sums)[kRowTiles][kWidth / 8][4], const float (&weights)[kRowTiles][kRows / 8][4],
                                        const MatrixTile<kWidth>& rows) {
#pragma unroll
  for (int step = 0; step < kRows / 16; ++step) {
    uint32_t fragment_a[kRowTiles][4];
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float(&pair)[4] = weights[r][2 * step + i / 2];
        fragment_a[r][i] = pack_bfloat16(pair[2 * (i % 2)], pair[2 * (i % 2) + 1]);
      }
    }
#pragma unroll
    for (int pair = 0; pair < kWidth / 16; ++pair) {
      uint32_t fragment_b[4];
      rows.load_b_of_columns(fragment_b, 16 * step, pair);
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
        multiply_16x8x16(sums[r][2 * pair], fragment_a[r], fragment_b[0], fragment_b[1]);
        multiply_16x8x16(sums[r][2 * pair + 1], fragment_a[r], fragment_b[2], fragment_b[3]);
      }
    }
  }
}

// The row of a fragment's element i, and its column in tile t of 8 columns.
LS_DEVICE int sum_row(int i) { return lane_index() / 4 + 8 * (i / 2); }
LS_DEVICE int sum_column(int t, int i) { return 8 * t + 2 * (lane_index() % 4) + i % 2; }

// Over the four lanes that share a row of a fragment.
LS_DEVICE float max_over_row(float value) {
  value = maximum(shuffle_xor(kAllLanes, value, 1), value);
  return maximum(shuffle_xor(kAllLanes, value, 2), value);
}
LS_DEVICE float sum_over_row(float value) {
  value += shuffle_xor(kAllLanes, value, 1);
  return value + shuffle_xor(kAllLanes, value, 2);
}

struct KeyRange {
  int begin, end;
  LS_DEVICE bool holds(int key) const { return key >= begin && key < end; }
  LS_DEVICE bool empty() const { return begin >= end; }
};
LS_DEVICE KeyRange keys_of(const Intervals& visible, int query, int num_queries) {
  if (query >= num_queries) return {0, 0};
  return {load_global(visible.begin + query), load_global(visible.end + query)};
}

// What queries [first, first + kQueries) see: any of them, and all.
struct SeenKeys {
  KeyRange any, all;
};
template <int kQueries>
LS_DEVICE SeenKeys seen_keys(const Intervals& visible, int first, int num_queries) {
  SeenKeys seen{{0x7fffffff, 0}, {0, 0x7fffffff}};
  for (int tile = first / kTile; tile < (first + kQueries) / kTile && tile * kTile < num_queries; ++tile) {
    const TileInterval interval = load_global(visible.query_tiles + tile);
    if (interval.any_begin >= interval.any_end) {
      seen.all = {0, 0};
      continue;
    }
    seen.any = {least(seen.any.begin, interval.any_begin), most(seen.any.end, interval.any_end)};
    seen.all = {most(seen.all.begin, interval.all_begin), least(seen.all.end, interval.all_end)};
  }
  return seen;
}

}  // namespace longspan::LS_CUDA
