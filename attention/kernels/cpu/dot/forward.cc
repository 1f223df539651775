// Forward of one head on dot products of bfloat16: online softmax over blocks of keys, resuming (O, LSE).
//
// Probabilities are made in registers from a few keys' scores and kept only as bfloat16, relative to a reference that need
// not be the largest score: they may exceed 1 as long as no sum gets near the end of fp32. Only where one does, the block's
// scores are computed again, to raise the reference to their maximum.
#include "attention/kernels/cpu/dot/dot_kernels.h"
#include "attention/kernels/cpu/dot/tile_packing.h"

namespace longspan::LS_CPU_LEVEL {

namespace {

constexpr int64_t kForwardKeys = 128;      // of a block
constexpr float kNothing = -1e30f;         // reference of a query that has seen no key
constexpr float kLargestSum = 1048576.0f;  // of the p of a block; above, the reference is raised
constexpr Pair kOnes = 0x3f803f80;         // 1, 1

// The state of one tile of queries, in base 2: O = sum p v, with p = 2^(s - m).
struct TileState {
  Pair* queries;  // [pair of dims][kLanes]
  float* output;  // [head_dim][kLanes]
  LaneBounds bounds;
  FloatV m[kVectors];
  FloatV l[kVectors];        // sum of p, for LSE
  FloatV rounded[kVectors];  // sum of the p that O is made of: what rounding adds to a key's weight, it takes from the others'
};

void scale_output(const TileState& state, int v, int64_t head_dim, FloatV factor) {
  for (int64_t d = 0; d < head_dim; ++d) {
    float* o = state.output + d * kLanes + v * kWidth;
    store(o, load(o) * factor);
  }
}

// LSE = m + log2(l), O = l times what was brought. m is whole: with it, p that are all alike lie close to a power of two, and
// rounding does not change what they weigh together beside what was seen before. Not so a query that will see no key.
void open_tile(const ForwardTask<bfloat16>& task, int64_t first_query, TileState& state) {
  const int64_t n = smaller(kLanes, task.visible.num_queries - first_query);
  const Rows<float> output = from_row(task.output, first_query);
  state.bounds = LaneBounds(task.visible, first_query);
  pack_lanes(from_row(task.q, first_query), n, task.head_dim, state.queries);
  transpose_in<float>({output.data, output.stride}, n, task.head_dim, 1.0f, state.output);
  alignas(64) float m[kLanes], l[kLanes];
  for (int64_t i = 0; i < kLanes; ++i) {
    const float lse = i < n ? task.lse[first_query + i] : 0.0f;  // a lane without a query stays finite
    const bool empty = lse == -kInfinity, sees = i < n && task.visible.begin[first_query + i] < task.visible.end[first_query + i];
    const float base2 = lse * kLog2E;
    m[i] = empty ? kNothing : sees ? __builtin_rintf(base2) : base2;
    l[i] = empty ? 0.0f : sees ? __builtin_exp2f(base2 - m[i]) : 1.0f;
  }
  for (int v = 0; v < kVectors; ++v) {
    state.m[v] = load(m + v * kWidth);
    state.l[v] = state.rounded[v] = load(l + v * kWidth);
    scale_output(state, v, task.head_dim, select(state.l[v] == 0.0f, broadcast(1.0f), state.l[v]));
  }
}

// A query that saw no key of this block gets back the O it brought, bit for bit, and its LSE is left alone.
void close_tile(const ForwardTask<bfloat16>& task, int64_t first_query, const TileState& state) {
  const int64_t n = smaller(kLanes, task.visible.num_queries - first_query);
  alignas(64) float m[kLanes], l[kLanes], inverse[kLanes];
  for (int v = 0; v < kVectors; ++v) {
    store(m + v * kWidth, state.m[v]);
    store(l + v * kWidth, state.l[v]);
    store(inverse + v * kWidth, 1.0f / state.rounded[v]);
  }
  for (int64_t i = 0; i < n; ++i) {
    const int64_t query = first_query + i;
    if (task.visible.begin[query] < task.visible.end[query]) {
      const double base2 = static_cast<double>(m[i]) + __builtin_log2(static_cast<double>(l[i]));
      task.lse[query] = static_cast<float>(base2 * 0.693147180559945309);
    } else {
      inverse[i] = 1.0f;
    }
  }
  transpose_out<Sum::kAssign>(state.output, n, task.head_dim, inverse, from_row(task.output, first_query));
}

// A tile and a block of keys, of which it meets some groups of kRowsAtOnce.
struct Meeting {
  int64_t head_dim;
  FloatV to_base2;               // of scores
  KeyIntervals::Tile tile;
  const Pair* keys;              // pack_rows
  const Pair* values;            // pack_row_pairs
  int64_t first_key;             // of the block
  int64_t first_group, last_group;
  Pair* p;                       // [pair of keys][kLanes]

  int64_t key_of(int64_t group) const { return first_key + group * kRowsAtOnce; }
};

// scores[r][..]: of one group, before scale.
inline __attribute__((always_inline)) void score(const Meeting& x, int64_t group, const Pair* queries,
                                                 FloatV (&scores)[kRowsAtOnce][kVectors]) {
  const int64_t row = chunks_of(x.head_dim) * kWidth;
  for (auto& one : scores) {
    for (FloatV& s : one) s = FloatV{};
  }
  add_dots<kVectors>({x.keys + group * kRowsAtOnce * row, row, 1}, queries, kLanes, pairs_of(x.head_dim), scores);
}

struct Sums {
  FloatV exact[kVectors], rounded[kVectors];
};

template <bool kMasked>
inline __attribute__((always_inline)) void group_probabilities(const Meeting& x, int64_t group, const TileState& state,
                                                               Sums& sums) {
  FloatV s[kRowsAtOnce][kVectors];
  score(x, group, state.queries, s);
#pragma GCC unroll 8
  for (int r = 0; r < kRowsAtOnce; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      s[r][v] = exp2_for_rounding(s[r][v] * x.to_base2 - state.m[v]);
      if (kMasked) s[r][v] = select(sees(state.bounds, v, x.key_of(group) + r), s[r][v], FloatV{});
      sums.exact[v] += s[r][v];
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRowsAtOnce; r += 2) {
    const RowPairs pairs = pair_rows(round_lanes(s[r][0], s[r][1]), round_lanes(s[r + 1][0], s[r + 1][1]));
    sums.rounded[0] = add_dot(sums.rounded[0], pairs.low, BitsV{} + kOnes);
    sums.rounded[1] = add_dot(sums.rounded[1], pairs.high, BitsV{} + kOnes);
    Pair* to = x.p + (group * kRowsAtOnce + r) / 2 * kLanes;
    store_pairs(to, pairs.low);
    store_pairs(to + kWidth, pairs.high);
  }
}

Sums probabilities(const Meeting& x, const TileState& state) {
  Sums sums = {};
  for (int64_t group = x.first_group; group < x.last_group; ++group) {
    const int64_t key = x.key_of(group);
    if (all_see(x.tile, key, key + kRowsAtOnce)) {
      group_probabilities<false>(x, group, state, sums);
    } else {
      group_probabilities<true>(x, group, state, sums);
    }
  }
  return sums;
}

// Raises m to the largest score of these groups, where that is above.
void raise_reference(const Meeting& x, int64_t first_group, int64_t last_group, TileState& state) {
  FloatV top[kVectors];
  for (int v = 0; v < kVectors; ++v) top[v] = state.m[v];
  for (int64_t group = first_group; group < last_group; ++group) {
    FloatV s[kRowsAtOnce][kVectors];
    score(x, group, state.queries, s);
    for (int r = 0; r < kRowsAtOnce; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        const FloatV seen = select(sees(state.bounds, v, x.key_of(group) + r), s[r][v] * x.to_base2, broadcast(-kInfinity));
        top[v] = maximum(top[v], seen);
      }
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    const FloatV factor = exp2(state.m[v] - top[v]);
    state.m[v] = top[v];
    state.l[v] *= factor;
    state.rounded[v] *= factor;
    scale_output(state, v, x.head_dim, factor);
  }
}

bool any_lane(const FloatV (&x)[kVectors], bool (*is)(FloatV)) { return is(x[0]) || is(x[1]); }

void attend(const Meeting& x, TileState& state) {
  static_assert(kVectors == 2);
  if (any_lane(state.m, [](FloatV m) { return any(m == broadcast(kNothing)); })) {
    raise_reference(x, x.first_group, x.first_group + 1, state);
  }
  Sums sums = probabilities(x, state);
  if (any_lane(sums.exact, [](FloatV sum) { return any(sum > broadcast(kLargestSum)); })) {
    raise_reference(x, x.first_group, x.last_group, state);
    sums = probabilities(x, state);
  }
  for (int v = 0; v < kVectors; ++v) {
    state.l[v] += sums.exact[v];
    state.rounded[v] += sums.rounded[v];
  }
  constexpr int64_t kPairs = kRowsAtOnce / 2;  // of a group
  for (int64_t d = 0; d < x.head_dim; d += kRowsAtOnce) {
    const Pair* values = x.values + d * (kForwardKeys / 2) + x.first_group * kPairs * kRowsAtOnce;
    add_dots_to<kVectors>({values, 1, kRowsAtOnce}, x.p + x.first_group * kPairs * kLanes, kLanes,
                          (x.last_group - x.first_group) * kPairs, state.output + d * kLanes, kLanes);
  }
}

// Where the parts of the scratch begin.
struct Scratch {
  float* outputs;               // [kForwardDotTiles][head_dim rounded up][kLanes]
  Pair* queries;                // [kForwardDotTiles][pair of dims][kLanes]
  Pair *keys, *values;          // of a block
  Pair* p;                      // [kForwardKeys / 2][kLanes]
  int64_t output_size, query_size, size;

  Scratch(float* begin, int64_t head_dim)
      : output_size(round_up(head_dim, kRowsAtOnce) * kLanes), query_size(pairs_of(head_dim) * kLanes) {
    ScratchParts parts(begin);
    outputs = parts.floats(kForwardDotTiles * output_size);
    queries = parts.pairs(kForwardDotTiles * query_size);
    keys = parts.pairs(kForwardKeys * chunks_of(head_dim) * kWidth);
    values = parts.pairs(round_up(head_dim, kRowsAtOnce) * kForwardKeys / 2);
    p = parts.pairs(kForwardKeys / 2 * kLanes);
    size = parts.size();
  }
};

}  // namespace

int64_t forward_scratch(int64_t head_dim) { return Scratch(nullptr, head_dim).size; }

void forward(const ForwardTask<bfloat16>& task) {
  const int64_t head_dim = task.head_dim;
  const Scratch scratch(task.scratch, head_dim);
  TileState states[kForwardDotTiles];
  const KeyIntervals::Tile* tiles = task.visible.tiles + task.first_tile;
  int64_t first_key = INT64_MAX, last_key = 0;
  for (int64_t t = 0; t < task.num_tiles; ++t) {
    states[t].queries = scratch.queries + t * scratch.query_size;
    states[t].output = scratch.outputs + t * scratch.output_size;
    if (tiles[t].any_begin == tiles[t].any_end) continue;
    open_tile(task, (task.first_tile + t) * kLanes, states[t]);
    first_key = smaller(first_key, tiles[t].any_begin);
    last_key = larger(last_key, tiles[t].any_end);
  }
  for (int64_t k0 = first_key; k0 < last_key; k0 += kForwardKeys) {
    const int64_t k1 = smaller(k0 + kForwardKeys, last_key);
    pack_rows(from_row(task.k, k0), k1 - k0, head_dim, scratch.keys);
    pack_row_pairs(from_row(task.v, k0), k1 - k0, head_dim, kForwardKeys / 2, scratch.values);
    if (task.progress.call) task.progress.call(task.progress.argument);
    for (int64_t t = 0; t < task.num_tiles; ++t) {
      const int64_t begin = larger(k0, tiles[t].any_begin), end = smaller(k1, tiles[t].any_end);
      if (begin >= end) continue;
      attend({.head_dim = head_dim,
              .to_base2 = broadcast(task.scale * kLog2E),
              .tile = tiles[t],
              .keys = scratch.keys,
              .values = scratch.values,
              .first_key = k0,
              .first_group = (begin - k0) / kRowsAtOnce,
              .last_group = (end - k0 + kRowsAtOnce - 1) / kRowsAtOnce,
              .p = scratch.p},
             states[t]);
    }
    if (task.progress.call) task.progress.call(task.progress.argument);
  }
  for (int64_t t = 0; t < task.num_tiles; ++t) {
    if (tiles[t].any_begin < tiles[t].any_end) close_tile(task, (task.first_tile + t) * kLanes, states[t]);
  }
}

}  // namespace longspan::LS_CPU_LEVEL
