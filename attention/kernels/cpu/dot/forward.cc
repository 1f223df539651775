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
  bool blank[kVectors];  // these lanes have no O yet: what lies at `output` is none
  bool fresh[kVectors];  // some of these lanes see keys, but have met none yet: their reference is to be set
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

// Of the lanes of vector v, those that see some key.
IntV sees_some(const LaneBounds& bounds, int v) {
  return load(bounds.begin + v * kWidth) < load(bounds.end + v * kWidth);
}

void set_fresh(TileState& state, int v) {
  state.fresh[v] = any((state.m[v] == broadcast(kNothing)) & sees_some(state.bounds, v));
}

// LSE = m + log2(l), O = l times what was brought. m is whole: with it, p that are all alike lie close to a power of two, and
// rounding does not change what they weigh together beside what was seen before. Not so a query that will see no key.
void open_tile(const ForwardTask<bfloat16>& task, int64_t first_query, TileState& state) {
  const int64_t n = smaller(kLanes, task.visible.num_queries - first_query);
  const Rows<float> output = from_row(task.output, first_query);
  state.bounds = LaneBounds(task.visible, first_query);
  pack_lanes(from_row(task.q, first_query), n, task.head_dim, state.queries);
  alignas(64) float m[kLanes], l[kLanes];
  bool blank = true;
  for (int64_t i = 0; i < kLanes; ++i) {
    const float lse = i < n ? task.lse[first_query + i] : 0.0f;  // a lane without a query stays finite
    const bool empty = lse == -kInfinity, sees = state.bounds.begin[i] < state.bounds.end[i];
    const float base2 = lse * kLog2E;
    m[i] = empty ? kNothing : sees ? __builtin_rintf(base2) : base2;
    l[i] = empty ? 0.0f : sees ? __builtin_exp2f(base2 - m[i]) : 1.0f;
    // What an empty state brings counts for nothing, unless the query sees nothing here either.
    if (i < n) blank = blank && empty && sees;
  }
  if (!blank) transpose_in<float>({output.data, output.stride}, n, task.head_dim, 1.0f, state.output);
  for (int v = 0; v < kVectors; ++v) {
    state.m[v] = load(m + v * kWidth);
    state.l[v] = state.rounded[v] = load(l + v * kWidth);
    state.blank[v] = blank;
    set_fresh(state, v);
    if (!blank) scale_output(state, v, task.head_dim, select(state.l[v] == 0.0f, broadcast(1.0f), state.l[v]));
  }
}

// ln(2^m l), computed in double precision.
FloatV log_of_weight(FloatV m, FloatV l) {
  typedef double Doubles __attribute__((vector_size(64)));
  typedef float Half __attribute__((vector_size(32)));
  constexpr double kLn2 = 0.693147180559945309;
  FloatV log;
  for (int half = 0; half < 2; ++half) {
    Half its_m, its_l;
    std::memcpy(&its_m, reinterpret_cast<const char*>(&m) + half * sizeof(Half), sizeof(Half));
    std::memcpy(&its_l, reinterpret_cast<const char*>(&l) + half * sizeof(Half), sizeof(Half));
    const auto x = (__m512d)__builtin_convertvector(its_l, Doubles);
    const __m512d fraction = _mm512_maskz_getmant_pd(0xff, x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_zero);
    const Doubles exponent = (Doubles)_mm512_maskz_getexp_pd(0xff, x) - (Doubles)_mm512_maskz_getexp_pd(0xff, fraction);
    // ln f = 2 artanh z, and z is within 1/5: what the series leaves out is below 1e-9 of it.
    const Doubles z = ((Doubles)fraction - 1.0) / ((Doubles)fraction + 1.0), z2 = z * z;
    Doubles series = z2 * (1.0 / 11) + 1.0 / 9;
    series = series * z2 + 1.0 / 7;
    series = series * z2 + 1.0 / 5;
    series = series * z2 + 1.0 / 3;
    series = series * z2 + 1.0;
    const Doubles sum = (__builtin_convertvector(its_m, Doubles) + exponent) * kLn2 + 2.0 * z * series;
    const Half rounded = __builtin_convertvector(sum, Half);
    std::memcpy(reinterpret_cast<char*>(&log) + half * sizeof(Half), &rounded, sizeof(Half));
  }
  return log;
}

// A query that saw no key of this block gets back the O it brought, bit for bit, and its LSE is left alone.
void close_tile(const ForwardTask<bfloat16>& task, int64_t first_query, const TileState& state) {
  const int64_t n = smaller(kLanes, task.visible.num_queries - first_query);
  const size_t num_bytes = static_cast<size_t>(n) * sizeof(float);
  alignas(64) float lse[kLanes] = {}, inverse[kLanes];
  std::memcpy(lse, task.lse + first_query, num_bytes);
  for (int v = 0; v < kVectors; ++v) {
    const IntV saw = sees_some(state.bounds, v);
    store(lse + v * kWidth, select(saw, log_of_weight(state.m[v], state.l[v]), load(lse + v * kWidth)));
    store(inverse + v * kWidth, select(saw, 1.0f / state.rounded[v], broadcast(1.0f)));
  }
  std::memcpy(task.lse + first_query, lse, num_bytes);
  transpose_out<Sum::kAssign>(state.output, n, task.head_dim, inverse, from_row(task.output, first_query));
}

// A tile and a block of keys.
struct Meeting {
  int64_t head_dim;
  FloatV to_base2;     // of scores
  const Pair* keys;    // pack_rows
  const Pair* values;  // pack_row_pairs
  int64_t first_key;   // of the block
  Pair* p;             // [pair of keys][kLanes]
};

template <int kNum>
using Scores = FloatV[kRowsAtOnce][kNum];

// scores[r][..]: of one group, before scale.
template <int kNum>
inline __attribute__((always_inline)) void score(const Meeting& x, int64_t group, const Pair* queries, Scores<kNum>& scores) {
  const int64_t row = chunks_of(x.head_dim) * kWidth;
  for (auto& one : scores) {
    for (FloatV& s : one) s = FloatV{};
  }
  add_dots<kNum>({x.keys + group * kRowsAtOnce * row, row, 1}, queries, kLanes, pairs_of(x.head_dim), scores);
}

// The largest of vector v's scores that are seen, base 2; at least `least`.
template <int kNum>
inline __attribute__((always_inline)) FloatV largest_seen(const Meeting& x, int64_t key, const Scores<kNum>& s, int first,
                                                          int v, FloatV least, const LaneBounds& bounds) {
  for (int r = 0; r < kRowsAtOnce; ++r) {
    const FloatV seen = select(sees(bounds, first + v, key + r), s[r][v] * x.to_base2, broadcast(-kInfinity));
    least = maximum(least, seen);
  }
  return least;
}

// Lanes that meet their first keys take the largest score of these as their reference. What they brought counts for nothing.
template <int kNum>
inline __attribute__((always_inline)) void set_references(const Meeting& x, int64_t key, const Scores<kNum>& s, int first,
                                                          TileState& state) {
  for (int v = 0; v < kNum; ++v) {
    const FloatV m = state.m[first + v];
    const FloatV top = largest_seen<kNum>(x, key, s, first, v, broadcast(-kInfinity), state.bounds);
    const IntV sets = (m == broadcast(kNothing)) & (top > broadcast(-kInfinity));
    state.m[first + v] = select(sets, top, m);
    if (!state.blank[first + v]) scale_output(state, first + v, x.head_dim, select(sets, FloatV{}, broadcast(1.0f)));
    set_fresh(state, first + v);
  }
}

template <int kNum>
struct Sums {
  FloatV exact[kNum], rounded[kNum];
};

template <int kNum, bool kMasked>
inline __attribute__((always_inline)) void group_probabilities(const Meeting& x, int64_t group, int first, bool fresh,
                                                               TileState& state, Sums<kNum>& sums) {
  const int64_t key = x.first_key + group * kRowsAtOnce;
  Scores<kNum> s;
  score<kNum>(x, group, state.queries + first * kWidth, s);
  if (kMasked && fresh) set_references<kNum>(x, key, s, first, state);
#pragma GCC unroll 8
  for (int r = 0; r < kRowsAtOnce; ++r) {
    for (int v = 0; v < kNum; ++v) {
      s[r][v] = exp2_for_rounding(s[r][v] * x.to_base2 - state.m[first + v]);
      if (kMasked) s[r][v] = select(sees(state.bounds, first + v, key + r), s[r][v], FloatV{});
      sums.exact[v] += s[r][v];
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRowsAtOnce; r += 2) {
    BitsV pairs[kNum];
    if constexpr (kNum == 2) {
      const RowPairs both = pair_rows(round_lanes(s[r][0], s[r][1]), round_lanes(s[r + 1][0], s[r + 1][1]));
      pairs[0] = both.low;
      pairs[1] = both.high;
    } else {
      pairs[0] = pair_halves(round_lanes(s[r][0], s[r + 1][0]));
    }
    for (int v = 0; v < kNum; ++v) {
      sums.rounded[v] = add_dot(sums.rounded[v], pairs[v], BitsV{} + kOnes);
      store_pairs(x.p + (group * kRowsAtOnce + r) / 2 * kLanes + (first + v) * kWidth, pairs[v]);
    }
  }
}

template <int kNum>
Sums<kNum> probabilities(const Meeting& x, Part part, TileState& state) {
  Sums<kNum> sums = {};
  const int first = part.first;
  for (int64_t group = part.groups.begin; group < part.groups.end; ++group) {
    const bool fresh = state.fresh[first] || state.fresh[first + kNum - 1];
    if (!fresh && all_lanes_see<kNum>(state.bounds, first, x.first_key + group * kRowsAtOnce)) {
      group_probabilities<kNum, false>(x, group, first, false, state, sums);
    } else {
      group_probabilities<kNum, true>(x, group, first, fresh, state, sums);
    }
  }
  return sums;
}

// Raises m to the largest score of these groups, where that is above.
template <int kNum>
void raise_reference(const Meeting& x, Part part, TileState& state) {
  FloatV top[kNum];
  for (int v = 0; v < kNum; ++v) top[v] = state.m[part.first + v];
  for (int64_t group = part.groups.begin; group < part.groups.end; ++group) {
    Scores<kNum> s;
    score<kNum>(x, group, state.queries + part.first * kWidth, s);
    const int64_t key = x.first_key + group * kRowsAtOnce;
    for (int v = 0; v < kNum; ++v) top[v] = largest_seen<kNum>(x, key, s, part.first, v, top[v], state.bounds);
  }
  for (int v = 0; v < kNum; ++v) {
    const int lanes = part.first + v;
    const FloatV factor = exp2(state.m[lanes] - top[v]);
    state.m[lanes] = top[v];
    state.l[lanes] *= factor;
    state.rounded[lanes] *= factor;
    if (!state.blank[lanes]) scale_output(state, lanes, x.head_dim, factor);
  }
}

// output += values by p; the first time for these lanes, it is assigned.
template <int kNum>
void add_values(const Meeting& x, Part part, TileState& state) {
  constexpr int64_t kPairs = kRowsAtOnce / 2;  // of a group
  const int first = part.first, last = first + kNum - 1;
  const bool assigns = state.blank[first] && state.blank[last];
  for (int v = first; v <= last && !assigns; ++v) {
    for (int64_t d = 0; d < (state.blank[v] ? x.head_dim : 0); ++d) store(state.output + d * kLanes + v * kWidth, FloatV{});
  }
  for (int64_t d = 0; d < x.head_dim; d += kRowsAtOnce) {
    const Pair* values = x.values + d * (kForwardKeys / 2) + part.groups.begin * kPairs * kRowsAtOnce;
    add_dots_to<kNum>({values, 1, kRowsAtOnce}, x.p + part.groups.begin * kPairs * kLanes + first * kWidth, kLanes,
                      part.groups.size() * kPairs, state.output + d * kLanes + first * kWidth, kLanes, assigns);
  }
  state.blank[first] = state.blank[last] = false;
}

template <int kNum>
void attend_lanes(const Meeting& x, Part part, TileState& state) {
  Sums<kNum> sums = probabilities<kNum>(x, part, state);
  bool too_large = false;
  for (const FloatV sum : sums.exact) too_large = too_large || any(sum > broadcast(kLargestSum));
  if (too_large) {
    raise_reference<kNum>(x, part, state);
    sums = probabilities<kNum>(x, part, state);
  }
  for (int v = 0; v < kNum; ++v) {
    state.l[part.first + v] += sums.exact[v];
    state.rounded[part.first + v] += sums.rounded[v];
  }
  add_values<kNum>(x, part, state);
}

void attend(const Meeting& x, KeySpan block, TileState& state) {
  static_assert(kVectors == 2 && kHalfVectors == 1);
  const KeySpan seen[] = {groups_of(common(block, state.bounds.any[0]), block.begin),
                          groups_of(common(block, state.bounds.any[1]), block.begin)};
  for_edge_parts(
      seen, [&](KeySpan groups) { attend_lanes<kVectors>(x, {groups, 0}, state); },
      [&](int64_t lane, KeySpan groups) {
        attend_lanes<kHalfVectors>(x, {groups, static_cast<int>(lane / kWidth)}, state);
      });
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
      if (common({k0, k1}, {tiles[t].any_begin, tiles[t].any_end}).empty()) continue;
      attend({.head_dim = head_dim,
              .to_base2 = broadcast(task.scale * kLog2E),
              .keys = scratch.keys,
              .values = scratch.values,
              .first_key = k0,
              .p = scratch.p},
             {k0, k1}, states[t]);
    }
    if (task.progress.call) task.progress.call(task.progress.argument);
  }
  for (int64_t t = 0; t < task.num_tiles; ++t) {
    if (tiles[t].any_begin < tiles[t].any_end) close_tile(task, (task.first_tile + t) * kLanes, states[t]);
  }
}

}  // namespace longspan::LS_CPU_LEVEL
