// Forward of one head: online softmax over blocks of keys, resuming (O, LSE).
#include "attention/kernels/cpu/level_kernels.h"
#include "attention/kernels/cpu/row_fetch.h"
#include "attention/kernels/cpu/tile_ops.h"

namespace longspan::LS_CPU_LEVEL {

namespace {

constexpr float kNothing = -1e30f;     // running maximum of a query that has seen no key
constexpr float kRescaleAbove = 8.0f;  // base 2: the maximum may lag by this much before O is rescaled

// The state of one tile of queries, in base 2: O = sum p v, with p = 2^(s - m), l = sum p.
struct TileState {
  float* queries;  // [head_dim][kLanes], scaled by scale * log2(e)
  float* output;   // [head_dim][kLanes]
  FloatV m[kVectors], l[kVectors];
  bool blank[kVectors];  // these lanes have no O yet: what lies at `output` is none
  LaneBounds bounds;
};

template <class T>
void open_tile(const ForwardTask<T>& task, int64_t first_query, TileState& state) {
  const int64_t n = smaller(kLanes, task.visible.num_queries - first_query);
  const Rows<float> output = from_row(task.output, first_query);
  transpose_in<T>(from_row(task.q, first_query), n, task.head_dim, task.scale * kLog2E, state.queries);
  alignas(64) float m[kLanes], l[kLanes];
  bool fresh = true;
  for (int64_t i = 0; i < kLanes; ++i) {
    const float lse = i < n ? task.lse[first_query + i] : -kInfinity;
    const bool empty = lse == -kInfinity;
    m[i] = empty ? kNothing : lse * kLog2E;
    l[i] = empty ? 0.0f : 1.0f;
    fresh = fresh && empty && (i >= n || task.visible.begin[first_query + i] < task.visible.end[first_query + i]);
  }
  // What an empty state brings counts for nothing, unless the query sees nothing here either.
  if (!fresh) transpose_in<float>({output.data, output.stride}, n, task.head_dim, 1.0f, state.output);
  state.bounds = LaneBounds(task.visible, first_query);
  for (int v = 0; v < kVectors; ++v) {
    state.m[v] = load(m + v * kWidth);
    state.l[v] = load(l + v * kWidth);
    state.blank[v] = fresh;
  }
}

// A query that saw no key of this block gets back the O it brought, bit for bit, and its LSE is left alone.
template <class T>
void close_tile(const ForwardTask<T>& task, int64_t first_query, const TileState& state) {
  const int64_t n = smaller(kLanes, task.visible.num_queries - first_query);
  alignas(64) float m[kLanes], l[kLanes], inverse[kLanes];
  for (int v = 0; v < kVectors; ++v) {
    store(m + v * kWidth, state.m[v]);
    store(l + v * kWidth, state.l[v]);
    store(inverse + v * kWidth, 1.0f / state.l[v]);
  }
  for (int64_t i = 0; i < n; ++i) {
    const int64_t query = first_query + i;
    if (task.visible.begin[query] == task.visible.end[query]) {
      inverse[i] = 1.0f;
    } else {
      const double base2 = static_cast<double>(m[i]) + __builtin_log2(static_cast<double>(l[i]));
      task.lse[query] = static_cast<float>(base2 * 0.693147180559945309);
    }
  }
  transpose_out<Sum::kAssign>(state.output, n, task.head_dim, inverse, from_row(task.output, first_query));
}

// Raises the maximum of vector v to that of its scores, if they pass it by enough to matter.
void raise_maximum(const float* column, int64_t num_keys, int64_t head_dim, int v, TileState& state) {
  FloatV top = state.m[v], other = top;
  int64_t r = 0;
  for (; r + 2 <= num_keys; r += 2) {
    top = maximum(top, load(column + r * kLanes));
    other = maximum(other, load(column + (r + 1) * kLanes));
  }
  if (r < num_keys) top = maximum(top, load(column + r * kLanes));
  top = maximum(top, other);
  if (!any(top - state.m[v] > broadcast(kRescaleAbove))) return;
  const FloatV factor = exp2(state.m[v] - top);
  state.l[v] *= factor;
  state.m[v] = top;
  if (state.blank[v]) return;
  for (int64_t d = 0; d < head_dim; ++d) {
    float* o = state.output + d * kLanes + v * kWidth;
    store(o, load(o) * factor);
  }
}

// Scores of a block become p; m, l and O follow; for the lanes of vectors [first, last).
void softmax_block(int64_t num_keys, int64_t head_dim, float* scores, int first, int last, TileState& state) {
  for (int v = first; v < last; ++v) {
    float* column = scores + v * kWidth;
    raise_maximum(column, num_keys, head_dim, v, state);
    const FloatV m = state.m[v];
    FloatV sum0{}, sum1{};
    int64_t r = 0;
    for (; r + 2 <= num_keys; r += 2) {
      const FloatV p0 = exp2(load(column + r * kLanes) - m);
      const FloatV p1 = exp2(load(column + (r + 1) * kLanes) - m);
      sum0 += p0;
      sum1 += p1;
      store(column + r * kLanes, p0);
      store(column + (r + 1) * kLanes, p1);
    }
    if (r < num_keys) {
      const FloatV p = exp2(load(column + r * kLanes) - m);
      sum0 += p;
      store(column + r * kLanes, p);
    }
    state.l[v] += sum0 + sum1;
  }
}

struct KeyBlock {
  Rows<const float> keys, values;  // from key `first` on
  int64_t first;
};

// output += values by p for the lanes of vectors [first, last); the first time for some, they are assigned.
template <int64_t kNumLanes>
void add_values(Rows<const float> values, int64_t num_keys, int64_t head_dim, const float* p, int first, TileState& state) {
  const int last = first + static_cast<int>(kNumLanes / kWidth);
  float* output = state.output + first * kWidth;
  int num_blank = 0;
  for (int v = first; v < last; ++v) num_blank += state.blank[v];
  if (num_blank == last - first) {
    product<Operand::kColumnMajor, Sum::kAssign, kNumLanes>(values, head_dim, p, num_keys, output);
  } else {
    for (int v = first; v < last && num_blank > 0; ++v) {
      for (int64_t d = 0; d < (state.blank[v] ? head_dim : 0); ++d) store(state.output + d * kLanes + v * kWidth, FloatV{});
    }
    product<Operand::kColumnMajor, Sum::kAccumulate, kNumLanes>(values, head_dim, p, num_keys, output);
  }
  for (int v = first; v < last; ++v) state.blank[v] = false;
}

// `keys` of a block against kNumLanes lanes of a tile from `lane` on; masked where some of them do not see some of the keys.
template <int64_t kNumLanes, class Between>
void attend_lanes(const KeyBlock& block, KeySpan keys, int64_t lane, bool masked, int64_t head_dim, float* scores,
                  TileState& state, const Between& between) {
  const auto first = static_cast<int>(lane / kWidth);
  product<Operand::kRowMajor, Sum::kAssign, kNumLanes>(from_row(block.keys, keys.begin - block.first), keys.size(),
                                                       state.queries + lane, head_dim, scores + lane, between);
  if (masked) {
    for_masked(state.bounds, keys, lane, kNumLanes, [&](int64_t j, int v) {
      float* s = scores + (j - keys.begin) * kLanes + v * kWidth;
      store(s, select(sees(state.bounds, v, j), load(s), broadcast(-kInfinity)));
    });
  }
  softmax_block(keys.size(), head_dim, scores, first, first + static_cast<int>(kNumLanes / kWidth), state);
  add_values<kNumLanes>(from_row(block.values, keys.begin - block.first), keys.size(), head_dim, scores + lane, first, state);
}

template <class T>
void attend(const ForwardTask<T>& task, int64_t tile, const KeyBlock& block, KeySpan keys, float* scores, TileState& state,
            ForwardFetches<T>& fetches) {
  const auto between = [&fetches] { fetches.some(); };
  if (all_see(task.visible.tiles[tile], keys.begin, keys.end)) {
    return attend_lanes<kLanes>(block, keys, 0, false, task.head_dim, scores, state, between);
  }
  for_edge_parts(
      state.bounds, keys,
      [&](KeySpan part) { attend_lanes<kLanes>(block, part, 0, true, task.head_dim, scores, state, between); },
      [&](int64_t lane, KeySpan part) {
        attend_lanes<kHalfLanes>(block, part, lane, true, task.head_dim, scores, state, between);
      });
}

}  // namespace

template <class T>
void forward(const ForwardTask<T>& task) {
  const int64_t head_dim = task.head_dim, tile_size = head_dim * kLanes;
  TileState states[kForwardTiles];
  float* scores = task.scratch + 2 * kForwardTiles * tile_size;
  float* wide_keys = scores + kBlockKeys * kLanes;
  float* wide_values = wide_keys + kBlockKeys * head_dim;
  const KeyIntervals::Tile* tiles = task.visible.tiles + task.first_tile;
  int64_t first_key = INT64_MAX, last_key = 0;
  for (int64_t t = 0; t < task.num_tiles; ++t) {
    states[t].queries = task.scratch + 2 * t * tile_size;
    states[t].output = states[t].queries + tile_size;
    if (tiles[t].any_begin == tiles[t].any_end) continue;
    open_tile(task, (task.first_tile + t) * kLanes, states[t]);
    first_key = smaller(first_key, tiles[t].any_begin);
    last_key = larger(last_key, tiles[t].any_end);
  }
  ForwardFetches<T> fetches(task);
  for (int64_t k0 = first_key; k0 < last_key; k0 += kBlockKeys) {
    const int64_t k1 = smaller(k0 + kBlockKeys, last_key);
    const Rows<const float> keys = as_float(from_row(task.k, k0), k1 - k0, head_dim, wide_keys);
    const Rows<const float> values = as_float(from_row(task.v, k0), k1 - k0, head_dim, wide_values);
    for (int64_t t = 0; t < task.num_tiles; ++t) {
      const KeySpan seen = common({k0, k1}, {tiles[t].any_begin, tiles[t].any_end});
      if (!seen.empty()) attend(task, task.first_tile + t, {keys, values, k0}, seen, scores, states[t], fetches);
    }
    if (task.progress.call) task.progress.call(task.progress.argument);
  }
  for (int64_t t = 0; t < task.num_tiles; ++t) {
    if (tiles[t].any_begin < tiles[t].any_end) close_tile(task, (task.first_tile + t) * kLanes, states[t]);
  }
}

template void forward<float>(const ForwardTask<float>&);
template void forward<bfloat16>(const ForwardTask<bfloat16>&);

}  // namespace longspan::LS_CPU_LEVEL
