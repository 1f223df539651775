#include "attention/kernels/cpu/amx/packing.h"

namespace longspan::LS_CPU_LEVEL {

namespace {

// 32 dims of a row from dim d on; what does not exist is zero.
LS_ALWAYS_INLINE __m512i load_dims(const PackRows& from, int64_t row, int64_t d) {
  const bool exists = row >= from.begin && row < from.end;
  const bfloat16* at = exists ? from.data + row * from.stride + d : from.data;
  return _mm512_maskz_loadu_epi16(exists ? first_halves(from.head_dim - d) : 0, at);
}

// 16 dims of rows `row` and `row` + 1, a dword a dim.
LS_ALWAYS_INLINE __m512i load_pair(const PackRows& from, int64_t row, int64_t d) {
  const auto load = [&](int64_t r) __attribute__((always_inline)) {
    const bool exists = r >= from.begin && r < from.end;
    const bfloat16* at = exists ? from.data + r * from.stride + d : from.data;
    const __m256i dims = _mm256_maskz_loadu_epi16(exists ? first_lanes(from.head_dim - d) : 0, at);
    return _mm512_maskz_cvtepu16_epi32(0xffff, dims);
  };
  return _mm512_or_si512(load(row), to_upper_half(load(row + 1)));
}

LS_ALWAYS_INLINE void store_tile_rows(const __m512i* rows, bfloat16* to) {
  for (int i = 0; i < 16; ++i) _mm512_store_si512(to + i * 32, rows[i]);
}

void pack_rows(const PackRows& from, int64_t first, int64_t padded, bfloat16* to) {
  for (int64_t r = 0; r < 16; ++r) {
    for (int64_t d = 0; d < padded; d += 32) {
      _mm512_store_si512(to + d * 16 + r * 32, load_dims(from, first + r, d));
    }
  }
}

// 32 rows at a time: tiles of 16 dims.
template <bool kTransposed>
void pack_row_pairs(const PackRows& from, int64_t first, int64_t padded, bfloat16* to) {
  for (int64_t d = 0; d < padded; d += 16) {
    __m512i r[16];
    for (int i = 0; i < 16; ++i) r[i] = load_pair(from, first + 2 * i, d);
    if (kTransposed) transpose(r);
    store_tile_rows(r, to + d * 32);
  }
}

}  // namespace

void pack_columns(const PackRows& from, int64_t first, int64_t padded, bfloat16* to) {
  for (int64_t d = 0; d < padded; d += 32) {
    __m512i r[16];
    for (int i = 0; i < 16; ++i) r[i] = load_dims(from, first + i, d);
    transpose(r);
    store_tile_rows(r, to + d * 16);
  }
}

void pack(const PackTask& task) {
  for (int64_t n = 0; n < task.count; n += 32) {
    const int64_t row = task.first + n, at = n * task.padded, second = 16 * task.padded;
    if (task.rows) {
      pack_rows(task.from, row, task.padded, task.rows + at);
      pack_rows(task.from, row + 16, task.padded, task.rows + at + second);
    }
    if (task.columns) {
      pack_columns(task.from, row, task.padded, task.columns + at);
      pack_columns(task.from, row + 16, task.padded, task.columns + at + second);
    }
    if (task.pairs) pack_row_pairs<false>(task.from, row, task.padded, task.pairs + at);
    if (task.transposed) pack_row_pairs<true>(task.from, row, task.padded, task.transposed + at);
  }
}

// The sums of a tile of queries are units of 32 dims x 32 queries.
void add_dq(const GradientOutput& output) {
  const __m512 factor = _mm512_set1_ps(output.factor);
  for (int64_t d = 0; d < output.head_dim; d += 16) {
    const __mmask16 dims = first_lanes(output.head_dim - d);
    for (int64_t half = 0; half < 2; ++half) {
      const float* tile = output.sums + d * kLanes + half * kTileFloats;
      __m512i r[16];
      for (int i = 0; i < 16; ++i) r[i] = _mm512_castps_si512(_mm512_load_ps(tile + i * 16));
      transpose(r);
      for (int64_t i = 0; i < 16 && half * 16 + i < output.num_rows; ++i) {
        float* to = output.to.data + (half * 16 + i) * output.to.stride + d;
        const __m512 sum = _mm512_fmadd_ps(_mm512_castsi512_ps(r[i]), factor, _mm512_maskz_loadu_ps(dims, to));
        _mm512_mask_storeu_ps(to, dims, sum);
      }
    }
  }
}

// The sums of a block of keys are units of 32 keys x 32 dims: by dims, then keys.
void add_dkv(const GradientOutput& output) {
  for (int64_t key = 0; key < output.num_rows; ++key) {
    const __m512 factor = _mm512_set1_ps(output.divisors ? output.factor / output.divisors[key] : output.factor);
    for (int64_t d = 0; d < output.head_dim; d += 16) {
      const int64_t unit = d / 32 * 4 + key / 32, tile = key % 32 / 16 * 2 + d % 32 / 16;
      const float* sums = output.sums + unit * kUnitFloats + tile * kTileFloats + key % 16 * 16;
      float* to = output.to.data + key * output.to.stride + d;
      const __mmask16 dims = first_lanes(output.head_dim - d);
      const __m512 sum = _mm512_fmadd_ps(_mm512_load_ps(sums), factor, _mm512_maskz_loadu_ps(dims, to));
      _mm512_mask_storeu_ps(to, dims, sum);
    }
  }
}

}  // namespace longspan::LS_CPU_LEVEL
