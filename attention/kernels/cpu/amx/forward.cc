#include "attention/kernels/cpu/amx/forward.h"

#include "attention/kernels/cpu/amx/forward_stream.h"
#include "attention/kernels/cpu/amx/packing.h"

namespace longspan::LS_CPU_LEVEL {

namespace {

constexpr float kInfinity = __builtin_inff();
constexpr double kLog2E = 1.44269504088896341, kLn2 = 0.693147180559945309;

int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// Keys of the window that tile t sees some of.
struct KeyRange {
  int64_t begin, end;
  KeyRange(const TileForwardTask& task, int64_t t)
      : begin(larger(task.visible.tiles[t].any_begin, task.keys.first_key)),
        end(smaller(task.visible.tiles[t].any_end, task.keys.end_key)) {}
  bool empty() const { return begin >= end; }
};

QueryTile tile_at(float* at, int64_t padded) {
  QueryTile tile;
  tile.q = reinterpret_cast<bfloat16*>(at);
  tile.output = at + kLanes * padded / 2;
  tile.reference = tile.output + kLanes * padded;
  tile.sum = tile.reference + kLanes;
  tile.weight = tile.sum + kLanes;
  tile.begin = reinterpret_cast<int32_t*>(tile.weight + kLanes);
  tile.length = tile.begin + kLanes;
  return tile;
}

// LSE = ln(2) (m + log2(sum)): m whole, sum within a factor of two of 1.
void open_lanes(const TileForwardTask& task, int64_t first_query, const float* lse, const QueryTile& tile) {
  for (int64_t i = 0; i < kLanes; ++i) {
    const int64_t query = first_query + i;
    const bool exists = query < task.visible.num_queries;
    const int64_t begin = exists ? larger(task.visible.begin[query], task.keys.first_key) : 0;
    const int64_t end = exists ? smaller(task.visible.end[query], task.keys.end_key) : 0;
    tile.begin[i] = static_cast<int32_t>(begin);
    tile.length[i] = static_cast<int32_t>(larger(end - begin, 0));
    const float seen = exists ? lse[query] : -kInfinity;
    if (seen == -kInfinity) {
      tile.reference[i] = kNothingSeen;
      tile.sum[i] = 0;
    } else {
      // Not a NaN with bits of its own, out of which rounding by addition might carry.
      const double base2 = static_cast<double>(seen == seen ? seen : __builtin_nanf("")) * kLog2E;
      tile.reference[i] = static_cast<float>(__builtin_rint(base2));
      tile.sum[i] = __builtin_exp2f(static_cast<float>(base2 - static_cast<double>(tile.reference[i])));
    }
    tile.weight[i] = tile.sum[i];
  }
}

// O^T = weight * O; rows that have seen nothing are not read.
void open_output(const TileForwardTask& task, Rows<const float> rows, int64_t num_rows, const QueryTile& tile) {
  for (int64_t half = 0; half < 2; ++half) {
    for (int64_t d = 0; d < padded_head_dim(task.head_dim); d += 16) {
      const __mmask16 dims = first_lanes(task.head_dim - d);
      __m512i r[16];
      for (int64_t i = 0; i < 16; ++i) {
        const int64_t lane = half * 16 + i;
        const bool wanted = lane < num_rows && tile.weight[lane] != 0;
        const float* row = wanted ? rows.data + lane * rows.stride + d : rows.data;
        const __m512 o = _mm512_maskz_loadu_ps(wanted ? dims : 0, row);
        r[i] = _mm512_castps_si512(_mm512_mul_ps(o, _mm512_set1_ps(tile.weight[lane])));
      }
      transpose(r);
      float* to = tile.output + d * kLanes + half * kTileFloats;
      for (int i = 0; i < 16; ++i) _mm512_store_si512(to + i * 16, r[i]);
    }
  }
}

void open_tile(const TileForwardTask& task, int64_t work, const QueryTile& tile) {
  const int64_t head = work % task.group, first_query = work / task.group * kLanes;
  const int64_t padded = padded_head_dim(task.head_dim), num_queries = task.visible.num_queries;
  const Rows<const bfloat16> q = task.q.head(head);
  const PackRows rows = {.data = q.data, .stride = q.stride, .head_dim = task.head_dim, .begin = 0, .end = num_queries};
  pack_columns(rows, first_query, padded, tile.q);
  pack_columns(rows, first_query + 16, padded, tile.q + 16 * padded);
  open_lanes(task, first_query, task.lse + head * num_queries, tile);
  const Rows<float> output = task.output.head(head);
  open_output(task, {output.data + first_query * output.stride, output.stride}, num_queries - first_query, tile);
}

// Writes the queries that saw a key of the window, and no others.
__mmask32 close_lanes(int64_t first_query, float* lse, const QueryTile& tile, float* factors) {
  __mmask32 written = 0;
  for (int64_t i = 0; i < kLanes; ++i) {
    factors[i] = 0;
    if (tile.length[i] == 0) continue;
    written |= 1u << i;
    if (tile.weight[i] != 0) factors[i] = 1.0f / tile.weight[i];
    const double base2 = static_cast<double>(tile.reference[i]) + static_cast<double>(__builtin_log2f(tile.sum[i]));
    lse[first_query + i] = tile.sum[i] == 0 ? -kInfinity : static_cast<float>(base2 * kLn2);
  }
  return written;
}

void close_tile(const TileForwardTask& task, int64_t work, const QueryTile& tile) {
  const int64_t head = work % task.group, first_query = work / task.group * kLanes;
  alignas(64) float factors[kLanes];
  const __mmask32 written = close_lanes(first_query, task.lse + head * task.visible.num_queries, tile, factors);
  const Rows<float> output = task.output.head(head);
  for (int64_t d = 0; d < task.head_dim; d += 16) {
    const __mmask16 dims = first_lanes(task.head_dim - d);
    for (int64_t half = 0; half < 2; ++half) {
      const __m512 factor = _mm512_load_ps(factors + half * 16);
      const float* from = tile.output + d * kLanes + half * kTileFloats;
      __m512i r[16];
      for (int i = 0; i < 16; ++i) r[i] = _mm512_castps_si512(_mm512_mul_ps(factor, _mm512_load_ps(from + i * 16)));
      transpose(r);
      for (int64_t i = 0; i < 16; ++i) {
        const int64_t lane = half * 16 + i;
        if (!(written >> lane & 1)) continue;
        _mm512_mask_storeu_ps(output.data + (first_query + lane) * output.stride + d, dims, _mm512_castsi512_ps(r[i]));
      }
    }
  }
}

// Of the blocks of one tile, which begin with the unit of its first key, those that begin in [begin, end).
template <int kDims>
void attend(const TileForwardTask& task, int64_t t, QueryTile& tile, int64_t begin, int64_t end,
            ForwardStream<kDims>& stream) {
  const int64_t padded = padded_head_dim(task.head_dim);
  const KeyIntervals::Tile& sees = task.visible.tiles[t];
  const KeyRange keys(task, t);
  const int64_t first = keys.begin / kUnitKeys * kUnitKeys, last_all = smaller(sees.all_end, task.keys.end_key);
  const int64_t next = first + rounded_up(larger(begin - first, 0), kTileBlockKeys);
  for (int64_t key = next; key < smaller(end, keys.end); key += kTileBlockKeys) {
    const int64_t at = (key - task.keys.first_key) * padded;
    BlockStep step;
    step.tile = &tile;
    step.keys = task.keys.rows + at;
    step.values = task.keys.values_transposed + at;
    step.first_key = key;
    step.masked = key < sees.all_begin || key + kTileBlockKeys > last_all;
    stream.attend(step);
  }
}

// Super-blocks of keys, which stay in cache while all tiles pass; then the next.
template <int kDims>
void stream_blocks(const TileForwardTask& task, QueryTile* tiles, float* scratch) {
  const int64_t padded = padded_head_dim(task.head_dim);
  float* stream_scratch = scratch + tile_forward_work(padded);
  auto* zeros = reinterpret_cast<bfloat16*>(stream_scratch + ForwardStream<kDims>::kScratchFloats);
  for (int64_t i = 0; i < tile_forward_work(padded); ++i) scratch[i] = 0;
  for (int64_t i = 0; i < kTileBlockKeys * padded; ++i) zeros[i].bits = 0;
  QueryTile nothing = tile_at(scratch, padded);
  BlockStep idle;
  idle.tile = &nothing;
  idle.keys = idle.values = zeros;
  ForwardStream<kDims> stream(stream_scratch, idle, padded, static_cast<float>(static_cast<double>(task.scale) * kLog2E));
  const FlushDenormals flush;
  const int64_t super = larger(kTileBlockKeys, kSuperBlockElements / padded / kTileBlockKeys * kTileBlockKeys);
  for (int64_t first = task.keys.first_key; first < task.keys.end_key; first += super) {
    for (int64_t i = 0; i < task.count; ++i) {
      const int64_t t = (task.first + i) / task.group;
      const KeyRange keys(task, t);
      if (larger(first, keys.begin) >= smaller(first + super, keys.end)) continue;
      attend<kDims>(task, t, tiles[i], first, first + super, stream);
      flush.call(task.progress);
    }
  }
  stream.drain();
}

}  // namespace

void forward(const TileForwardTask& task) {
  const int64_t padded = padded_head_dim(task.head_dim), work_floats = tile_forward_work(padded);
  QueryTile tiles[kMostForwardWorks];
  for (int64_t i = 0; i < task.count; ++i) {
    tiles[i] = tile_at(task.scratch + i * work_floats, padded);
    if (!KeyRange(task, (task.first + i) / task.group).empty()) open_tile(task, task.first + i, tiles[i]);
  }
  float* scratch = task.scratch + task.count * work_floats;
  const TileSession session;
  if (padded == 64) {
    stream_blocks<64>(task, tiles, scratch);
  } else if (padded == 128) {
    stream_blocks<128>(task, tiles, scratch);
  } else {
    stream_blocks<0>(task, tiles, scratch);
  }
  for (int64_t i = 0; i < task.count; ++i) {
    if (!KeyRange(task, (task.first + i) / task.group).empty()) close_tile(task, task.first + i, tiles[i]);
  }
}

}  // namespace longspan::LS_CPU_LEVEL
