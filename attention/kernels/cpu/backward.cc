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
    const bool has_gradient = i < n && task.lse[first + i] > -kInfinity;
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

// scores -> p, dp -> ds = p (dp - delta) scale.
struct SoftmaxGradient {
  const float* lse;
  const float* delta;
  float scale;
  const LaneBounds* bounds;  // null: every lane sees every key
  int64_t first_key, num_keys;
  float *scores, *dp;
};

void softmax_gradient(const SoftmaxGradient& x) {
  const FloatV to_base2 = broadcast(x.scale * kLog2E), scale = broadcast(x.scale);
  for (int v = 0; v < kVectors; ++v) {
    const FloatV lse = load(x.lse + v * kWidth), delta = load(x.delta + v * kWidth);
    for (int64_t r = 0; r < x.num_keys; ++r) {
      float* s = x.scores + r * kLanes + v * kWidth;
      float* dp = x.dp + r * kLanes + v * kWidth;
      FloatV p = exp2(load(s) * to_base2 - lse);
      if (x.bounds) p = select(sees(*x.bounds, v, x.first_key + r), p, FloatV{});
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

template <class T>
void tile_gradient(const BackwardTask<T>& task, int64_t t, const SuperBlock& super, const Scratch& scratch) {
  const KeyIntervals::Tile& tile = task.visible.tiles[task.first_tile + t];
  const int64_t begin = larger(super.first, tile.any_begin);
  const int64_t end = smaller(super.first + super.num_keys, tile.any_end);
  if (begin >= end) return;
  const int64_t head_dim = task.head_dim, tile_size = head_dim * kLanes;
  const int64_t first = (task.first_tile + t) * kLanes, n_lanes = smaller(kLanes, task.visible.num_queries - first);
  const Rows<const float> q = as_float(from_row(task.q, first), n_lanes, head_dim, scratch.wide_q);
  const Rows<const float> g = as_float(from_row(task.doutput, first), n_lanes, head_dim, scratch.wide_g);
  const LaneBounds bounds(task.visible, first);
  float *scores = scratch.scores, *dp = scratch.dp;
  for (int64_t k0 = begin; k0 < end; k0 += kBlockKeys) {
    const int64_t n = smaller(kBlockKeys, end - k0);
    const Rows<const float> k = from_row(super.keys, k0 - super.first), v = from_row(super.values, k0 - super.first);
    product<Operand::kRowMajor, Sum::kAssign>(k, n, scratch.queries + t * tile_size, head_dim, scores);
    product<Operand::kRowMajor, Sum::kAssign>(v, n, scratch.gradients + t * tile_size, head_dim, dp);
    softmax_gradient({scratch.lse + t * kLanes, scratch.delta + t * kLanes, task.scale,
                      all_see(tile, k0, k0 + n) ? nullptr : &bounds, k0, n, scores, dp});
    product_by_lanes(scores, n, g, head_dim, n_lanes, from_row(task.dv, k0));
    product_by_lanes(dp, n, q, head_dim, n_lanes, from_row(task.dk, k0));
    product<Operand::kColumnMajor, Sum::kAccumulate>(k, head_dim, dp, n, scratch.dq + t * tile_size);
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
