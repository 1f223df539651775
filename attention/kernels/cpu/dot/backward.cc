// Backward of some tiles of queries of one head on dot products of bfloat16: for each super-block of keys, for each group of
// tiles, p is rebuilt from LSE and feeds five products. One pass in a fixed order.
//
// p and ds are rounded to bfloat16 as they are made, ds in both of the orders that its two products sum over: dq over keys,
// dk over queries. dk and dv of a super-block are summed in the scratch, where their rows are padded, then added once.
#include "attention/kernels/cpu/dot/dot_kernels.h"
#include "attention/kernels/cpu/dot/tile_packing.h"
#include "attention/kernels/key_factors.h"

namespace longspan::LS_CPU_LEVEL {

namespace {

constexpr int64_t kGroupTiles = 2;      // tiles whose queries are summed over before dk and dv are touched
constexpr int64_t kBackwardKeys = kKeyFactors;  // of a block
constexpr int64_t kRowPairs = kGroupTiles * kLanes / 2;  // pairs of queries of a row of p or ds
constexpr int64_t kGroupPairs = kRowsAtOnce / 2;         // pairs of keys of kRowsAtOnce
constexpr int64_t kBlockGroups = kBackwardKeys / kRowsAtOnce;  // of keys
constexpr int64_t kHalves = 2 * kGroupTiles;  // of the lanes of tiles, whose queries are summed over together
constexpr int64_t kHalfPairs = kHalfLanes / 2;

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

// A block of keys of the super-block, packed, and one tile.
struct Meeting {
  int64_t head_dim;
  float to_base2;
  LaneBounds bounds;
  const Pair *queries, *gradients;
  const float *lse, *delta;
  const Pair *keys, *values;  // rows of the block
  int64_t first_key;
  Pair *p, *ds, *ds_by_keys;  // p and ds: from the tile's place in a row on
  float* dq;
};

template <int kNum>
inline __attribute__((always_inline)) void dots_of_group(const Pair* rows, int64_t group, const Pair* lanes, int64_t head_dim,
                                                         FloatV (&sum)[kRowsAtOnce][kNum]) {
  const int64_t row = chunks_of(head_dim) * kWidth;
  for (auto& one : sum) {
    for (FloatV& s : one) s = FloatV{};
  }
  add_dots<kNum>({rows + group * kRowsAtOnce * row, row, 1}, lanes, kLanes, pairs_of(head_dim), sum);
}

// Two rows of lanes are rounded and stored where rows of pairs of queries are; returns them as pairs of rows.
template <int kNum>
inline __attribute__((always_inline)) void round_rows(const FloatV (&even)[kNum], const FloatV (&odd)[kNum], Pair* rows,
                                                      BitsV (&pairs)[kNum]) {
  if constexpr (kNum == 2) {
    const BitsV row[] = {round_lanes(even[0], even[1]), round_lanes(odd[0], odd[1])};
    store_pairs(rows, row[0]);
    store_pairs(rows + kRowPairs, row[1]);
    const RowPairs both = pair_rows(row[0], row[1]);
    pairs[0] = both.low;
    pairs[1] = both.high;
  } else {
    const BitsV row = round_lanes(even[0], odd[0]);
    std::memcpy(rows, &row, sizeof row / 2);
    std::memcpy(rows + kRowPairs, reinterpret_cast<const char*>(&row) + sizeof row / 2, sizeof row / 2);
    pairs[0] = pair_halves(row);
  }
}

// p and ds = p (dp - delta) of one group and the lanes of kNum vectors from `first` on; scale is left to the end.
template <int kNum, bool kMasked>
inline __attribute__((always_inline)) void group_gradient(const Meeting& x, int64_t group, int first) {
  const int64_t lane = first * kWidth, row = group * kRowsAtOnce, place = row * kRowPairs + lane / 2;
  alignas(64) float kept[kRowsAtOnce][kNum * kWidth];
  FloatV s[kRowsAtOnce][kNum];
  BitsV pairs[kNum];
  dots_of_group<kNum>(x.keys, group, x.queries + lane, x.head_dim, s);
#pragma GCC unroll 8
  for (int r = 0; r < kRowsAtOnce; ++r) {
    for (int v = 0; v < kNum; ++v) {
      s[r][v] = exp2_for_rounding(s[r][v] * broadcast(x.to_base2) - load(x.lse + lane + v * kWidth));
      if (kMasked) s[r][v] = select(sees(x.bounds, first + v, x.first_key + row + r), s[r][v], FloatV{});
      store(kept[r] + v * kWidth, s[r][v]);
      s[r][v] *= broadcast(kFactorOfKey[static_cast<size_t>(row + r)]);
    }
    if (r % 2 == 1) round_rows<kNum>(s[r - 1], s[r], x.p + place + (r - 1) * kRowPairs, pairs);
  }
  FloatV dp[kRowsAtOnce][kNum];
  dots_of_group<kNum>(x.values, group, x.gradients + lane, x.head_dim, dp);
#pragma GCC unroll 8
  for (int r = 0; r < kRowsAtOnce; ++r) {
    for (int v = 0; v < kNum; ++v) {
      dp[r][v] = load(kept[r] + v * kWidth) * (dp[r][v] - load(x.delta + lane + v * kWidth));
      if (kMasked) dp[r][v] = select(sees(x.bounds, first + v, x.first_key + row + r), dp[r][v], FloatV{});
    }
    if (r % 2 == 0) continue;
    round_rows<kNum>(dp[r - 1], dp[r], x.ds + place + (r - 1) * kRowPairs, pairs);
    Pair* to = x.ds_by_keys + (group * kGroupPairs + r / 2) * kLanes + lane;
    for (int v = 0; v < kNum; ++v) store_pairs(to + v * kWidth, pairs[v]);
  }
}

// dq[dim][lane] += sum over keys of k[key][dim] * ds[key][lane].
template <int kNum>
void add_over_keys(const Pair* key_pairs, const Meeting& x, Part part) {
  const int64_t lane = part.first * kWidth;
  for (int64_t d = 0; d < x.head_dim; d += kRowsAtOnce) {
    const Pair* keys = key_pairs + d * (kSuperBlockKeys / 2) + part.groups.begin * kGroupPairs * kRowsAtOnce;
    add_dots_to<kNum>({keys, 1, kRowsAtOnce}, x.ds_by_keys + part.groups.begin * kGroupPairs * kLanes + lane, kLanes,
                      part.groups.size() * kGroupPairs, x.dq + d * kLanes + lane, kLanes);
  }
}

// p, ds and dq.
template <int kNum>
void lanes_gradient(const Pair* key_pairs, const Meeting& x, Part part) {
  for (int64_t group = part.groups.begin; group < part.groups.end; ++group) {
    if (all_lanes_see<kNum>(x.bounds, part.first, x.first_key + group * kRowsAtOnce)) {
      group_gradient<kNum, false>(x, group, part.first);
    } else {
      group_gradient<kNum, true>(x, group, part.first);
    }
  }
  add_over_keys<kNum>(key_pairs, x, part);
}

// For each group of keys of a block, which halves of the lanes of a group of tiles its sums over queries take in: those from
// the first that sees some of it to the last.
struct HalvesOfGroups {
  KeySpan halves[kBlockGroups];
};

// From the groups of keys that each half sees; those that a half between others does not see become 0 in p and ds.
HalvesOfGroups halves_of_groups(const KeySpan (&seen)[kHalves], Pair* p, Pair* ds) {
  HalvesOfGroups all;
  for (int64_t group = 0; group < kBlockGroups; ++group) {
    const auto sees_it = [&](int64_t h) { return seen[h].begin <= group && group < seen[h].end; };
    KeySpan& halves = all.halves[group];
    halves = {0, kHalves};
    while (!halves.empty() && !sees_it(halves.begin)) ++halves.begin;
    while (!halves.empty() && !sees_it(halves.end - 1)) --halves.end;
    for (int64_t h = halves.begin; h < halves.end; ++h) {
      for (int64_t row = group * kRowsAtOnce; row < (sees_it(h) ? 0 : (group + 1) * kRowsAtOnce); ++row) {
        std::memset(p + row * kRowPairs + h * kHalfPairs, 0, kHalfPairs * sizeof(Pair));
        std::memset(ds + row * kRowPairs + h * kHalfPairs, 0, kHalfPairs * sizeof(Pair));
      }
    }
  }
  return all;
}

// sums[dims][key][dim] += sum over the queries of a group of tiles of a[key][query] * b[query][dim].
// Where there are no sums of a group of keys yet, they are assigned.
void add_over_queries(const Pair* a, const Pair* b, const HalvesOfGroups& all, int64_t head_dim, const bool* have_sums,
                      float* sums) {
  for (int64_t d = 0; d < head_dim; d += kChunk, b += kRowPairs * kChunk, sums += kSuperBlockKeys * kChunk) {
    for (int64_t group = 0; group < kBlockGroups; ++group) {
      const KeySpan halves = all.halves[group];
      if (halves.empty()) continue;
      const Broadcasts rows = {a + group * kRowsAtOnce * kRowPairs + halves.begin * kHalfPairs, kRowPairs, 1};
      const Pair* from = b + halves.begin * kHalfPairs * kChunk;
      float* c = sums + group * kRowsAtOnce * kChunk;
      if (head_dim - d > kWidth) {
        add_dots_to<2>(rows, from, kChunk, halves.size() * kHalfPairs, c, kChunk, !have_sums[group]);
      } else {
        add_dots_to<1>(rows, from, kChunk, halves.size() * kHalfPairs, c, kChunk, !have_sums[group]);
      }
    }
  }
}

// Keys [block.begin, block.end) of the super-block that begins at `super`, against a group of tiles from tile t on.
void group_of_tiles(const BackwardTask<bfloat16>& task, int64_t t, int64_t super, KeySpan block, const Scratch& scratch,
                    bool* have_sums) {
  static_assert(kVectors == 2 && kHalfVectors == 1);
  const int64_t head_dim = task.head_dim, num = smaller(kGroupTiles, task.num_tiles - t);
  const int64_t first_row = block.begin - super, row = chunks_of(head_dim) * kWidth;
  const Pair* key_pairs = scratch.key_pairs + first_row / 2 * kRowsAtOnce;
  KeySpan seen[kHalves] = {};
  bool any = false;
  for (int64_t i = 0; i < num; ++i) {
    const KeyIntervals::Tile& tile = task.visible.tiles[task.first_tile + t + i];
    if (common(block, {tile.any_begin, tile.any_end}).empty()) continue;
    any = true;
    LaneBounds bounds(task.visible, (task.first_tile + t + i) * kLanes);
    // A last group reaches beyond the block. Keys there are seen, and met in another block: here they are zeros, whose p is that
    // of a score of 0, and infinite where LSE is far below.
    if (block.size() % kRowsAtOnce != 0) bounds.end_at(block.end);
    const Meeting x = {.head_dim = head_dim,
                       .to_base2 = task.scale * kLog2E,
                       .bounds = bounds,
                       .queries = scratch.queries + (t + i) * scratch.lanes_size,
                       .gradients = scratch.gradients + (t + i) * scratch.lanes_size,
                       .lse = scratch.lse + (t + i) * kLanes,
                       .delta = scratch.delta + (t + i) * kLanes,
                       .keys = scratch.keys + first_row * row,
                       .values = scratch.values + first_row * row,
                       .first_key = block.begin,
                       .p = scratch.p + i * (kLanes / 2),
                       .ds = scratch.ds + i * (kLanes / 2),
                       .ds_by_keys = scratch.ds_by_keys,
                       .dq = scratch.dq + (t + i) * scratch.dq_size};
    const KeySpan halves[] = {groups_of(common(block, x.bounds.any[0]), block.begin),
                              groups_of(common(block, x.bounds.any[1]), block.begin)};
    for (int h = 0; h < 2; ++h) seen[2 * i + h] = halves[h];
    for_edge_parts(
        halves, [&](KeySpan groups) { lanes_gradient<kVectors>(key_pairs, x, {groups, 0}); },
        [&](int64_t lane, KeySpan groups) {
          lanes_gradient<kHalfVectors>(key_pairs, x, {groups, static_cast<int>(lane / kWidth)});
        });
  }
  if (!any) return;
  const HalvesOfGroups all = halves_of_groups(seen, scratch.p, scratch.ds);
  const int64_t pairs = t / kGroupTiles * scratch.pairs_size;
  add_over_queries(scratch.p, scratch.gradient_pairs + pairs, all, head_dim, have_sums, scratch.dv + first_row * kChunk);
  add_over_queries(scratch.ds, scratch.query_pairs + pairs, all, head_dim, have_sums, scratch.dk + first_row * kChunk);
  for (int64_t group = 0; group < kBlockGroups; ++group) have_sums[group] = have_sums[group] || !all.halves[group].empty();
}

// rows[r][d] += factor(r) * sums[..], where there are sums.
template <class Factor>
void flush(const float* sums, const bool* have_sums, int64_t num_rows, int64_t head_dim, Factor factor_of, Rows<float> rows) {
  for (int64_t r = 0; r < num_rows; ++r) {
    if (!have_sums[r / kRowsAtOnce]) continue;
    float* to = rows.data + r * rows.stride;
    const float factor = factor_of(r);
    const auto from = [&](int64_t d) { return sums + (d / kChunk * kSuperBlockKeys + r) * kChunk + d % kChunk; };
    int64_t d = 0;
    for (; d + kWidth <= head_dim; d += kWidth) store(to + d, load(to + d) + broadcast(factor) * load(from(d)));
    for (; d < head_dim; ++d) to[d] += factor * *from(d);
  }
}

// The task's keys that some of tiles [first, end) see.
KeySpan seen_keys(const BackwardTask<bfloat16>& task, int64_t first, int64_t end) {
  KeySpan keys = {INT64_MAX, 0};
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
  const KeySpan keys = seen_keys(task, 0, task.num_tiles);
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
    bool have_sums[kSuperBlockKeys / kRowsAtOnce] = {};
    for (int64_t t = 0; t < task.num_tiles; t += kGroupTiles) {
      for (int64_t k0 = super; k0 < end; k0 += kBackwardKeys) {
        group_of_tiles(task, t, super, {k0, smaller(k0 + kBackwardKeys, end)}, scratch,
                       have_sums + (k0 - super) / kRowsAtOnce);
      }
    }
    flush(scratch.dk, have_sums, n, head_dim, [&](int64_t) { return task.scale; }, from_row(task.dk, super));
    flush(scratch.dv, have_sums, n, head_dim,
          [](int64_t key) { return 1.0f / kFactorOfKey[static_cast<size_t>(key % kBackwardKeys)]; }, from_row(task.dv, super));
    if (task.progress.call) task.progress.call(task.progress.argument);
  }
  for (int64_t t = 0; t < task.num_tiles; ++t) {
    if (!seen_keys(task, t, t + 1).empty()) close_tile(task, t, scratch);
  }
}

}  // namespace longspan::LS_CPU_LEVEL
