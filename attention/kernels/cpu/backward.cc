// Backward of some tiles of queries of one head: for each super-block of keys, for each tile, p is rebuilt from LSE and
// feeds five products. One pass in a fixed order.
#include "attention/kernels/cpu/level_kernels.h"
#include "attention/kernels/cpu/tile_ops.h"

namespace longspan::LS_CPU_LEVEL {

namespace {

// Where the parts of the scratch begin.
struct Scratch {
  float* queries;    // [num_tiles][head_dim][kLanes]
  float* gradients;  // [num_tiles][head_dim][kLanes], of doutput
  float* dq;         // [num_tiles][head_dim][kLanes]
  float* lse;        // [num_tiles][kLanes], base 2; +inf where p must be 0
  float* delta;      // [num_tiles][kLanes], times scale
  float *scores, *dp;              // [kBlockKeys][kLanes]
  float *wide_keys, *wide_values;  // [kSuperBlockKeys][head_dim]
  float *wide_q, *wide_g;          // [kLanes][head_dim]

  Scratch(float* begin, int64_t num_tiles, int64_t head_dim) {
    const int64_t tile_size = head_dim * kLanes;
    queries = begin;
    gradients = queries + num_tiles * tile_size;
    dq = gradients + num_tiles * tile_size;
    lse = dq + num_tiles * tile_size;
    delta = lse + num_tiles * kLanes;
    scores = delta + num_tiles * kLanes;
    dp = scores + kBlockKeys * kLanes;
    wide_keys = dp + kBlockKeys * kLanes;
    wide_values = wide_keys + kSuperBlockKeys * head_dim;
    wide_q = wide_values + kSuperBlockKeys * head_dim;
    wide_g = wide_q + tile_size;
  }
};

template <class T>
bool overlaps(const BackwardTask<T>& task, int64_t t) {
  const KeyIntervals::Tile& tile = task.visible.tiles[task.first_tile + t];
  return larger(tile.any_begin, task.key_begin) < smaller(tile.any_end, task.key_end);
}

template <class T>
void open_tile(const BackwardTask<T>& task, int64_t t, const Scratch& scratch) {
  const int64_t first = (task.first_tile + t) * kLanes, tile_size = task.head_dim * kLanes;
  const int64_t n = smaller(kLanes, task.visible.num_queries - first);
  transpose_in<T>(from_row(task.q, first), n, task.head_dim, 1.0f, scratch.queries + t * tile_size);
  transpose_in<T>(from_row(task.doutput, first), n, task.head_dim, 1.0f, scratch.gradients + t * tile_size);
  std::memset(scratch.dq + t * tile_size, 0, static_cast<size_t>(tile_size) * sizeof(float));
  for (int64_t i = 0; i < kLanes; ++i) {
    const bool has_gradient = i < n && task.lse[first + i] != -kInfinity;
    scratch.lse[t * kLanes + i] = has_gradient ? task.lse[first + i] * kLog2E : kInfinity;
    scratch.delta[t * kLanes + i] = has_gradient ? task.delta[first + i] * task.scale : 0.0f;
  }
}

template <class T>
void close_tile(const BackwardTask<T>& task, int64_t t, const Scratch& scratch) {
  const int64_t first = (task.first_tile + t) * kLanes;
  const int64_t n = smaller(kLanes, task.visible.num_queries - first);
  alignas(64) float ones[kLanes];
  for (float& one : ones) one = 1.0f;
  transpose_out<Sum::kAccumulate>(scratch.dq + t * task.head_dim * kLanes, n, task.head_dim, ones,
                                  from_row(task.dq, first));
}

// scores -> p, dp -> ds = p (dp - delta) scale, for num_keys keys and the lanes of vectors [first, last).
struct SoftmaxGradient {
  const float* lse;
  const float* delta;
  float scale;
  int64_t num_keys;
  int first, last;
  float *scores, *dp;
};

void softmax_gradient(const SoftmaxGradient& x) {
  const FloatV to_base2 = broadcast(x.scale * kLog2E), scale = broadcast(x.scale);
  for (int v = x.first; v < x.last; ++v) {
    const FloatV lse = load(x.lse + v * kWidth), delta = load(x.delta + v * kWidth);
    for (int64_t r = 0; r < x.num_keys; ++r) {
      float* s = x.scores + r * kLanes + v * kWidth;
      float* dp = x.dp + r * kLanes + v * kWidth;
      const FloatV p = exp2(load(s) * to_base2 - lse);
      store(s, p);
      store(dp, p * (load(dp) * scale - delta));
    }
  }
}

// Keys [first, first + num_keys) of the shard, as floats.
struct SuperBlock {
  Rows<const float> keys, values;
  int64_t first, num_keys;
};

// One tile and the keys of one block.
struct Block {
  Rows<const float> k, v;  // from the first of `keys` on
  Rows<float> dk, dv;
  KeySpan keys;
  const float *queries, *gradients;  // [head_dim][kLanes]
  const float *lse, *delta;
  float* dq;                 // [head_dim][kLanes]
  Rows<const float> q, g;    // as rows
  float *scores, *dp;        // p and ds of the block, [keys][kLanes]
  int64_t num_lanes;         // that exist
};

// What its keys and kNumLanes lanes from `lane` on add to dq, dk and dv; bounds where some do not see some of the keys.
template <int64_t kNumLanes>
void lanes_gradient(const Block& x, int64_t lane, const LaneBounds* bounds, int64_t head_dim, float scale) {
  const int64_t n = x.keys.size(), num_lanes = smaller(kNumLanes, x.num_lanes - lane);
  float *scores = x.scores + lane, *dp = x.dp + lane;
  product<Operand::kRowMajor, Sum::kAssign, kNumLanes>(x.k, n, x.queries + lane, head_dim, scores);
  product<Operand::kRowMajor, Sum::kAssign, kNumLanes>(x.v, n, x.gradients + lane, head_dim, dp);
  softmax_gradient({x.lse, x.delta, scale, n, static_cast<int>(lane / kWidth),
                    static_cast<int>((lane + kNumLanes) / kWidth), x.scores, x.dp});
  if (bounds) {
    for_masked(*bounds, x.keys, lane, kNumLanes, [&](int64_t j, int v) {
      const int64_t at = (j - x.keys.begin) * kLanes + v * kWidth;
      const IntV seen = sees(*bounds, v, j);
      store(x.scores + at, select(seen, load(x.scores + at), FloatV{}));
      store(x.dp + at, select(seen, load(x.dp + at), FloatV{}));
    });
  }
  product_by_lanes(scores, n, from_row(x.g, lane), head_dim, num_lanes, x.dv);
  product_by_lanes(dp, n, from_row(x.q, lane), head_dim, num_lanes, x.dk);
  product<Operand::kColumnMajor, Sum::kAccumulate, kNumLanes>(x.k, head_dim, dp, n, x.dq + lane);
}

template <class T>
void tile_gradient(const BackwardTask<T>& task, int64_t t, const SuperBlock& super, const Scratch& scratch) {
  const KeyIntervals::Tile& tile = task.visible.tiles[task.first_tile + t];
  const KeySpan seen = common({super.first, super.first + super.num_keys}, {tile.any_begin, tile.any_end});
  if (seen.empty()) return;
  const int64_t head_dim = task.head_dim, at = t * head_dim * kLanes, first = (task.first_tile + t) * kLanes;
  const int64_t num_lanes = smaller(kLanes, task.visible.num_queries - first);
  Block block = {.k = {}, .v = {}, .dk = {}, .dv = {}, .keys = {},
                 .queries = scratch.queries + at, .gradients = scratch.gradients + at,
                 .lse = scratch.lse + t * kLanes, .delta = scratch.delta + t * kLanes, .dq = scratch.dq + at,
                 .q = as_float(from_row(task.q, first), num_lanes, head_dim, scratch.wide_q),
                 .g = as_float(from_row(task.doutput, first), num_lanes, head_dim, scratch.wide_g),
                 .scores = scratch.scores, .dp = scratch.dp, .num_lanes = num_lanes};
  const auto set_keys = [&](KeySpan part) {
    block.keys = part;
    block.k = from_row(super.keys, part.begin - super.first);
    block.v = from_row(super.values, part.begin - super.first);
    block.dk = from_row(task.dk, part.begin);
    block.dv = from_row(task.dv, part.begin);
  };
  const LaneBounds bounds(task.visible, first);
  for (int64_t k0 = seen.begin; k0 < seen.end; k0 += kBlockKeys) {
    const KeySpan keys = common(seen, {k0, k0 + kBlockKeys});
    if (all_see(tile, keys.begin, keys.end)) {
      set_keys(keys);
      lanes_gradient<kLanes>(block, 0, nullptr, head_dim, task.scale);
      continue;
    }
    for_edge_parts(
        bounds, keys,
        [&](KeySpan part) {
          set_keys(part);
          lanes_gradient<kLanes>(block, 0, &bounds, head_dim, task.scale);
        },
        [&](int64_t lane, KeySpan part) {
          set_keys(part);
          lanes_gradient<kHalfLanes>(block, lane, &bounds, head_dim, task.scale);
        });
  }
}

}  // namespace

template <class T>
void backward(const BackwardTask<T>& task) {
  const int64_t head_dim = task.head_dim;
  const Scratch scratch(task.scratch, task.num_tiles, head_dim);
  for (int64_t t = 0; t < task.num_tiles; ++t) {
    if (overlaps(task, t)) open_tile(task, t, scratch);
  }
  for (int64_t first = task.key_begin; first < task.key_end; first += kSuperBlockKeys) {
    const int64_t n = smaller(kSuperBlockKeys, task.key_end - first);
    const SuperBlock super = {as_float(from_row(task.k, first), n, head_dim, scratch.wide_keys),
                              as_float(from_row(task.v, first), n, head_dim, scratch.wide_values), first, n};
    for (int64_t t = 0; t < task.num_tiles; ++t) tile_gradient(task, t, super, scratch);
    if (task.progress.call) task.progress.call(task.progress.argument);
  }
  for (int64_t t = 0; t < task.num_tiles; ++t) {
    if (overlaps(task, t)) close_tile(task, t, scratch);
  }
}

template <class Output, class T>
void delta(const DeltaTask<Output, T>& task) {
  for (int64_t i = 0; i < task.num_rows; ++i) {
    const Output* output = task.output.data + i * task.output.stride;
    const T* doutput = task.doutput.data + i * task.doutput.stride;
    FloatV sums{};
    int64_t d = 0;
    for (; d + kWidth <= task.head_dim; d += kWidth) sums += load(output + d) * load(doutput + d);
    float sum = horizontal_sum(sums);
    for (; d < task.head_dim; ++d) sum += widen(output[d]) * widen(doutput[d]);
    task.sums[i] = sum;
  }
}

template void backward<float>(const BackwardTask<float>&);
template void backward<bfloat16>(const BackwardTask<bfloat16>&);
template void delta<float, float>(const DeltaTask<float, float>&);
template void delta<float, bfloat16>(const DeltaTask<float, bfloat16>&);
template void delta<bfloat16, bfloat16>(const DeltaTask<bfloat16, bfloat16>&);

}  // namespace longspan::LS_CPU_LEVEL
