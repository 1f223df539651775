// Backward of some tiles of queries of one head on dot products of bfloat16: for each super-block of keys, for each group of
// tiles, p is rebuilt from LSE and feeds five products. One pass in a fixed order.
//
// p and ds are rounded to bfloat16 as they are made, ds in both of the orders that its two products sum over: dq over keys,
// dk over queries. dk and dv of a super-block are summed in the scratch, where their rows are padded, then added once.
#include "attention/kernels/cpu/dot/dot_kernels.h"
#include "attention/kernels/cpu/dot/tile_packing.h"
#include "attention/kernels/cpu/key_factors.h"

namespace longspan::LS_CPU_LEVEL {

namespace {

constexpr int64_t kGroupTiles = 2;      // tiles whose queries are summed over before dk and dv are touched
constexpr int64_t kBackwardKeys = kKeyFactors;  // of a block
constexpr int64_t kRowPairs = kGroupTiles * kLanes / 2;  // pairs of queries of a row of p or ds
constexpr int64_t kGroupPairs = kRowsAtOnce / 2;         // pairs of keys of kRowsAtOnce

// Where the parts of the scratch begin.
struct Scratch {
  float* dq;             // [num_tiles][head_dim rounded up][kLanes]
  float *lse, *delta;    // [num_tiles][kLanes]; lse: base 2; +inf where p must be 0
  float *dk, *dv;        // [dims by kChunk][kSuperBlockKeys][kChunk]
  Pair *queries, *gradients;            // [num_tiles][pair of dims][kLanes]
  Pair *query_pairs, *gradient_pairs;   // [groups of tiles][dims by kChunk][kRowPairs][kChunk]
  Pair *keys, *values;   // pack_rows of kSuperBlockKeys
  Pair* key_pairs;       // pack_row_pairs of kSuperBlockKeys
  Pair *p, *ds;          // [kBackwardKeys][kRowPairs]; p times kFactorOfKey
  Pair* ds_by_keys;      // [kBackwardKeys / 2][kLanes]
  int64_t dq_size, lanes_size, pairs_size, size;

  Scratch(float* begin, int64_t num_tiles, int64_t head_dim)
      : dq_size(round_up(head_dim, kRowsAtOnce) * kLanes),
        lanes_size(pairs_of(head_dim) * kLanes),
        pairs_size(chunks_of(head_dim) * kRowPairs * kChunk) {
    const int64_t num_groups = (num_tiles + kGroupTiles - 1) / kGroupTiles, sums = chunks_of(head_dim) * kSuperBlockKeys * kChunk;
    const int64_t rows = kSuperBlockKeys * chunks_of(head_dim) * kWidth;
    ScratchParts parts(begin);
    dq = parts.floats(num_tiles * dq_size);
    lse = parts.floats(num_tiles * kLanes);
    delta = parts.floats(num_tiles * kLanes);
    dk = parts.floats(sums);
    dv = parts.floats(sums);
    queries = parts.pairs(num_tiles * lanes_size);
    gradients = parts.pairs(num_tiles * lanes_size);
    query_pairs = parts.pairs(num_groups * pairs_size);
    gradient_pairs = parts.pairs(num_groups * pairs_size);
    keys = parts.pairs(rows);
    values = parts.pairs(rows);
    key_pairs = parts.pairs(round_up(head_dim, kRowsAtOnce) * kSuperBlockKeys / 2);
    p = parts.pairs(kBackwardKeys * kRowPairs);
    ds = parts.pairs(kBackwardKeys * kRowPairs);
    ds_by_keys = parts.pairs(kBackwardKeys / 2 * kLanes);
    size = parts.size();
  }
};

void open_tile(const BackwardTask<bfloat16>& task, int64_t t, const Scratch& scratch) {
  const int64_t first = (task.first_tile + t) * kLanes, head_dim = task.head_dim;
  const int64_t n = smaller(kLanes, task.visible.num_queries - first);
  const int64_t place = t / kGroupTiles * scratch.pairs_size + t % kGroupTiles * (kLanes / 2) * kChunk;
  pack_lanes(from_row(task.q, first), n, head_dim, scratch.queries + t * scratch.lanes_size);
  pack_lanes(from_row(task.doutput, first), n, head_dim, scratch.gradients + t * scratch.lanes_size);
  pack_lane_pairs(from_row(task.q, first), n, head_dim, kRowPairs, scratch.query_pairs + place);
  pack_lane_pairs(from_row(task.doutput, first), n, head_dim, kRowPairs, scratch.gradient_pairs + place);
  std::memset(scratch.dq + t * scratch.dq_size, 0, static_cast<size_t>(scratch.dq_size) * sizeof(float));
  for (int64_t i = 0; i < kLanes; ++i) {
    const bool has_gradient = i < n && task.lse[first + i] != -kInfinity;
    scratch.lse[t * kLanes + i] = has_gradient ? task.lse[first + i] * kLog2E : kInfinity;
    scratch.delta[t * kLanes + i] = has_gradient ? task.delta[first + i] : 0.0f;
  }
}

void close_tile(const BackwardTask<bfloat16>& task, int64_t t, const Scratch& scratch) {
  const int64_t first = (task.first_tile + t) * kLanes;
  const int64_t n = smaller(kLanes, task.visible.num_queries - first);
  alignas(64) float scale[kLanes];
  for (float& one : scale) one = task.scale;
  transpose_out<Sum::kAccumulate>(scratch.dq + t * scratch.dq_size, n, task.head_dim, scale, from_row(task.dq, first));
}

// Groups of kRowsAtOnce keys, counted from the first key of a block.
struct Groups {
  int64_t begin, end;
};

// A block of keys of the super-block, packed, and one tile.
struct Meeting {
  int64_t head_dim;
  float to_base2;
  KeyIntervals::Tile tile;
  const LaneBounds* bounds;
  const Pair *queries, *gradients;
  const float *lse, *delta;
  const Pair *keys, *values;  // rows of the block
  int64_t first_key;
  Pair *p, *ds, *ds_by_keys;  // p and ds: from the tile's place in a row on
};

inline __attribute__((always_inline)) void dots_of_group(const Pair* rows, int64_t group, const Pair* lanes, int64_t head_dim,
                                                         FloatV (&sum)[kRowsAtOnce][kVectors]) {
  const int64_t row = chunks_of(head_dim) * kWidth;
  for (auto& one : sum) {
    for (FloatV& s : one) s = FloatV{};
  }
  add_dots<kVectors>({rows + group * kRowsAtOnce * row, row, 1}, lanes, kLanes, pairs_of(head_dim), sum);
}

// p and ds = p (dp - delta) of one group; scale is left to the end.
template <bool kMasked>
inline __attribute__((always_inline)) void group_gradient(const Meeting& x, int64_t group) {
  alignas(64) float kept[kRowsAtOnce][kLanes];
  FloatV s[kRowsAtOnce][kVectors];
  dots_of_group(x.keys, group, x.queries, x.head_dim, s);
#pragma GCC unroll 8
  for (int r = 0; r < kRowsAtOnce; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      s[r][v] = exp2_for_rounding(s[r][v] * broadcast(x.to_base2) - load(x.lse + v * kWidth));
      if (kMasked) s[r][v] = select(sees(*x.bounds, v, x.first_key + group * kRowsAtOnce + r), s[r][v], FloatV{});
      store(kept[r] + v * kWidth, s[r][v]);
      s[r][v] *= broadcast(kFactorOfKey[static_cast<size_t>(group * kRowsAtOnce + r)]);
    }
    store_pairs(x.p + (group * kRowsAtOnce + r) * kRowPairs, round_lanes(s[r][0], s[r][1]));
  }
  FloatV dp[kRowsAtOnce][kVectors];
  dots_of_group(x.values, group, x.gradients, x.head_dim, dp);
#pragma GCC unroll 4
  for (int r = 0; r < kRowsAtOnce; r += 2) {
    BitsV row[2];
    for (int i = 0; i < 2; ++i) {
      FloatV ds[kVectors];
      for (int v = 0; v < kVectors; ++v) {
        ds[v] = load(kept[r + i] + v * kWidth) * (dp[r + i][v] - load(x.delta + v * kWidth));
        if (kMasked) ds[v] = select(sees(*x.bounds, v, x.first_key + group * kRowsAtOnce + r + i), ds[v], FloatV{});
      }
      row[i] = round_lanes(ds[0], ds[1]);
      store_pairs(x.ds + (group * kRowsAtOnce + r + i) * kRowPairs, row[i]);
    }
    const RowPairs pairs = pair_rows(row[0], row[1]);
    Pair* to = x.ds_by_keys + (group * kGroupPairs + r / 2) * kLanes;
    store_pairs(to, pairs.low);
    store_pairs(to + kWidth, pairs.high);
  }
}

void tile_gradient(const Meeting& x, Groups groups) {
  for (int64_t group = groups.begin; group < groups.end; ++group) {
    const int64_t key = x.first_key + group * kRowsAtOnce;
    if (all_see(x.tile, key, key + kRowsAtOnce)) {
      group_gradient<false>(x, group);
    } else {
      group_gradient<true>(x, group);
    }
  }
}

// p and ds of keys that this tile does not meet while another of its group does.
void clear_rows(const Meeting& x, int64_t begin_group, int64_t end_group) {
  for (int64_t row = begin_group * kRowsAtOnce; row < end_group * kRowsAtOnce; ++row) {
    store_pairs(x.p + row * kRowPairs, BitsV{});
    store_pairs(x.ds + row * kRowPairs, BitsV{});
  }
}

// sums[dims][key][dim] += sum over the queries of a group of tiles of a[key][query] * b[query][dim].
void add_over_queries(const Pair* a, const Pair* b, int64_t num_row_pairs, Groups groups, int64_t head_dim, float* sums) {
  for (int64_t d = 0; d < head_dim; d += kChunk, b += kRowPairs * kChunk, sums += kSuperBlockKeys * kChunk) {
    for (int64_t group = groups.begin; group < groups.end; ++group) {
      const Broadcasts rows = {a + group * kRowsAtOnce * kRowPairs, kRowPairs, 1};
      float* c = sums + group * kRowsAtOnce * kChunk;
      if (head_dim - d > kWidth) {
        add_dots_to<2>(rows, b, kChunk, num_row_pairs, c, kChunk);
      } else {
        add_dots_to<1>(rows, b, kChunk, num_row_pairs, c, kChunk);
      }
    }
  }
}

// dq[dim][lane] += sum over keys of k[key][dim] * ds[key][lane].
void add_over_keys(const Pair* key_pairs, const Pair* ds, Groups groups, int64_t head_dim, float* dq) {
  for (int64_t d = 0; d < head_dim; d += kRowsAtOnce) {
    const Pair* keys = key_pairs + d * (kSuperBlockKeys / 2) + groups.begin * kGroupPairs * kRowsAtOnce;
    add_dots_to<kVectors>({keys, 1, kRowsAtOnce}, ds + groups.begin * kGroupPairs * kLanes, kLanes,
                          (groups.end - groups.begin) * kGroupPairs, dq + d * kLanes, kLanes);
  }
}

struct Keys {
  int64_t begin, end;
  bool empty() const { return begin >= end; }
};

Groups groups_of(Keys keys, int64_t first_key) {
  if (keys.empty()) return {0, 0};
  return {(keys.begin - first_key) / kRowsAtOnce, (keys.end - first_key + kRowsAtOnce - 1) / kRowsAtOnce};
}

// Keys [block.begin, block.end) of the super-block that begins at `super`, against a group of tiles from tile t on.
void group_of_tiles(const BackwardTask<bfloat16>& task, int64_t t, int64_t super, Keys block, const Scratch& scratch) {
  const int64_t head_dim = task.head_dim, num = smaller(kGroupTiles, task.num_tiles - t);
  const KeyIntervals::Tile* tiles = task.visible.tiles + task.first_tile + t;
  const auto met = [&](const KeyIntervals::Tile& tile) {
    return groups_of({larger(block.begin, tile.any_begin), smaller(block.end, tile.any_end)}, block.begin);
  };
  Groups all = {INT64_MAX, 0};
  for (int64_t i = 0; i < num; ++i) {
    const Groups groups = met(tiles[i]);
    if (groups.begin < groups.end) all = {smaller(all.begin, groups.begin), larger(all.end, groups.end)};
  }
  if (all.begin >= all.end) return;
  const int64_t first_row = block.begin - super, row = chunks_of(head_dim) * kWidth;
  const Pair* key_pairs = scratch.key_pairs + first_row / 2 * kRowsAtOnce;
  for (int64_t i = 0; i < num; ++i) {
    const LaneBounds bounds(task.visible, (task.first_tile + t + i) * kLanes);
    const Meeting x = {.head_dim = head_dim,
                       .to_base2 = task.scale * kLog2E,
                       .tile = tiles[i],
                       .bounds = &bounds,
                       .queries = scratch.queries + (t + i) * scratch.lanes_size,
                       .gradients = scratch.gradients + (t + i) * scratch.lanes_size,
                       .lse = scratch.lse + (t + i) * kLanes,
                       .delta = scratch.delta + (t + i) * kLanes,
                       .keys = scratch.keys + first_row * row,
                       .values = scratch.values + first_row * row,
                       .first_key = block.begin,
                       .p = scratch.p + i * (kLanes / 2),
                       .ds = scratch.ds + i * (kLanes / 2),
                       .ds_by_keys = scratch.ds_by_keys};
    const Groups groups = met(tiles[i]);
    if (groups.begin >= groups.end) {
      clear_rows(x, all.begin, all.end);
      continue;
    }
    clear_rows(x, all.begin, groups.begin);
    clear_rows(x, groups.end, all.end);
    tile_gradient(x, groups);
    add_over_keys(key_pairs, scratch.ds_by_keys, groups, head_dim, scratch.dq + (t + i) * scratch.dq_size);
  }
  const int64_t pairs = t / kGroupTiles * scratch.pairs_size;
  add_over_queries(scratch.p, scratch.gradient_pairs + pairs, num * (kLanes / 2), all, head_dim,
                   scratch.dv + first_row * kChunk);
  add_over_queries(scratch.ds, scratch.query_pairs + pairs, num * (kLanes / 2), all, head_dim,
                   scratch.dk + first_row * kChunk);
}

// rows[r][d] += factor(r) * sums[..].
template <class Factor>
void flush(const float* sums, int64_t num_rows, int64_t head_dim, Factor factor_of, Rows<float> rows) {
  for (int64_t r = 0; r < num_rows; ++r) {
    float* to = rows.data + r * rows.stride;
    const float factor = factor_of(r);
    for (int64_t d = 0; d < head_dim; ++d) to[d] += factor * sums[(d / kChunk * kSuperBlockKeys + r) * kChunk + d % kChunk];
  }
}

// The task's keys that some of tiles [first, end) see.
Keys seen_keys(const BackwardTask<bfloat16>& task, int64_t first, int64_t end) {
  Keys keys = {INT64_MAX, 0};
  for (int64_t t = first; t < end; ++t) {
    const KeyIntervals::Tile& tile = task.visible.tiles[task.first_tile + t];
    const int64_t from = larger(tile.any_begin, task.key_begin), to = smaller(tile.any_end, task.key_end);
    if (from < to) keys = {smaller(keys.begin, from), larger(keys.end, to)};
  }
  return keys;
}

}  // namespace

int64_t backward_scratch(int64_t num_tiles, int64_t head_dim) { return Scratch(nullptr, num_tiles, head_dim).size; }

void backward(const BackwardTask<bfloat16>& task) {
  const int64_t head_dim = task.head_dim;
  const Scratch scratch(task.scratch, task.num_tiles, head_dim);
  const Keys keys = seen_keys(task, 0, task.num_tiles);
  if (keys.empty()) return;
  for (int64_t t = 0; t < task.num_tiles; t += kGroupTiles) {
    const int64_t end = smaller(t + kGroupTiles, task.num_tiles);  // of a group, whose products take in all of its queries
    for (int64_t i = t; i < end && !seen_keys(task, t, end).empty(); ++i) open_tile(task, i, scratch);
  }
  for (int64_t super = keys.begin; super < keys.end; super += kSuperBlockKeys) {
    const int64_t end = smaller(super + kSuperBlockKeys, keys.end), n = end - super;
    pack_rows(from_row(task.k, super), n, head_dim, scratch.keys);
    pack_rows(from_row(task.v, super), n, head_dim, scratch.values);
    pack_row_pairs(from_row(task.k, super), n, head_dim, kSuperBlockKeys / 2, scratch.key_pairs);
    std::memset(scratch.dk, 0, static_cast<size_t>(scratch.queries - reinterpret_cast<Pair*>(scratch.dk)) * sizeof(float));
    for (int64_t t = 0; t < task.num_tiles; t += kGroupTiles) {
      for (int64_t k0 = super; k0 < end; k0 += kBackwardKeys) {
        group_of_tiles(task, t, super, {k0, smaller(k0 + kBackwardKeys, end)}, scratch);
      }
    }
    flush(scratch.dk, n, head_dim, [&](int64_t) { return task.scale; }, from_row(task.dk, super));
    flush(scratch.dv, n, head_dim, [](int64_t key) { return 1.0f / kFactorOfKey[static_cast<size_t>(key % kBackwardKeys)]; },
          from_row(task.dv, super));
    if (task.progress.call) task.progress.call(task.progress.argument);
  }
  for (int64_t t = 0; t < task.num_tiles; ++t) {
    if (!seen_keys(task, t, t + 1).empty()) close_tile(task, t, scratch);
  }
}

}  // namespace longspan::LS_CPU_LEVEL
