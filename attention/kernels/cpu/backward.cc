// Backward of one query head: for each super-block of keys, for each tile of queries, p is rebuilt from LSE and feeds five
// products. One pass in a fixed order.
#include "attention/kernels/cpu/tile_ops.h"

namespace longspan::LS_CPU_LEVEL {

void (*forward_float())(const ForwardTask<float>&);
void (*forward_bfloat16())(const ForwardTask<bfloat16>&);

namespace {

constexpr float kLog2E = 1.44269504088896341f;
constexpr int kVectors = kLanes / kWidth;

// What backward needs of all queries of the head, made once: transposed tiles, LSE in base 2 and delta, padded.
struct QueryTiles {
  float* q;      // [tiles][head_dim][kLanes]
  float* g;      // the same of doutput
  float* lse;    // [tiles * kLanes]; +inf where p must be 0
  float* delta;  // [tiles * kLanes]
};

template <class T>
QueryTiles transpose_queries(const BackwardTask<T>& task, float* scratch) {
  const int64_t num_queries = task.visible.num_queries, num_tiles = (num_queries + kLanes - 1) / kLanes;
  const int64_t tile_size = task.head_dim * kLanes;
  QueryTiles tiles{scratch, scratch + num_tiles * tile_size, scratch + 2 * num_tiles * tile_size,
                   scratch + 2 * num_tiles * tile_size + num_tiles * kLanes};
  for (int64_t t = 0; t < num_tiles; ++t) {
    const int64_t first = t * kLanes, n = smaller(kLanes, num_queries - first);
    transpose_in<T>({task.q.data + first * task.q.stride, task.q.stride}, n, task.head_dim, 1.0f, tiles.q + t * tile_size);
    transpose_in<T>({task.doutput.data + first * task.doutput.stride, task.doutput.stride}, n, task.head_dim, 1.0f,
                    tiles.g + t * tile_size);
    for (int64_t i = first; i < first + kLanes; ++i) {
      const bool sees_some = i < num_queries && task.lse[i] > -__builtin_inff();
      tiles.lse[i] = sees_some ? task.lse[i] * kLog2E : __builtin_inff();
      tiles.delta[i] = sees_some ? task.delta[i] : 0.0f;
    }
  }
  return tiles;
}

// scores -> p, dp -> ds.
struct Block {
  const float* lse;
  const float* delta;
  float scale;
  const LaneBounds* bounds;  // null: every lane sees every key
  int64_t first_key, num_keys;
  float *scores, *dp;
};

void softmax_gradient(const Block& b) {
  const FloatV to_base2 = broadcast(b.scale * kLog2E), scale = broadcast(b.scale);
  for (int v = 0; v < kVectors; ++v) {
    const FloatV lse = load(b.lse + v * kWidth), delta = load(b.delta + v * kWidth);
    for (int64_t r = 0; r < b.num_keys; ++r) {
      float* s = b.scores + r * kLanes + v * kWidth;
      float* dp = b.dp + r * kLanes + v * kWidth;
      FloatV p = exp2(load(s) * to_base2 - lse);
      if (b.bounds) p = select(sees(b.bounds->begin, b.bounds->end, v, b.first_key + r), p, FloatV{});
      store(s, p);
      store(dp, p * scale * (load(dp) - delta));
    }
  }
}

template <class T>
void backward(const BackwardTask<T>& task) {
  const int64_t head_dim = task.head_dim, tile_size = head_dim * kLanes;
  const int64_t num_tiles = (task.visible.num_queries + kLanes - 1) / kLanes;
  const QueryTiles queries = transpose_queries(task, task.scratch);
  float* scores = queries.delta + num_tiles * kLanes;
  float* dp = scores + kBlockKeys * kLanes;
  float* wide_keys = dp + kBlockKeys * kLanes;
  float* wide_values = wide_keys + kSuperBlockKeys * head_dim;
  float* wide_q = wide_values + kSuperBlockKeys * head_dim;
  float* wide_g = wide_q + kLanes * head_dim;
  for (int64_t super = task.key_begin; super < task.key_end; super += kSuperBlockKeys) {
    const int64_t super_end = smaller(super + kSuperBlockKeys, task.key_end);
    const Rows<const float> keys = as_float(Rows<const T>{task.k.data + super * task.k.stride, task.k.stride},
                                            super_end - super, head_dim, wide_keys);
    const Rows<const float> values = as_float(Rows<const T>{task.v.data + super * task.v.stride, task.v.stride},
                                              super_end - super, head_dim, wide_values);
    for (int64_t t = 0; t < num_tiles; ++t) {
      const KeyIntervals::Tile& tile = task.visible.tiles[t];
      const int64_t begin = larger(super, tile.any_begin), end = smaller(super_end, tile.any_end);
      if (begin >= end) continue;
      const int64_t first = t * kLanes, n_lanes = smaller(kLanes, task.visible.num_queries - first);
      const Rows<const float> q = as_float(Rows<const T>{task.q.data + first * task.q.stride, task.q.stride}, n_lanes,
                                           head_dim, wide_q);
      const Rows<const float> g = as_float(Rows<const T>{task.doutput.data + first * task.doutput.stride,
                                                         task.doutput.stride}, n_lanes, head_dim, wide_g);
      const LaneBounds bounds(task.visible, first);
      for (int64_t k0 = begin; k0 < end; k0 += kBlockKeys) {
        const int64_t n = smaller(kBlockKeys, end - k0);
        const float* k = keys.data + (k0 - super) * keys.stride;
        const float* v = values.data + (k0 - super) * values.stride;
        product<Operand::kRowMajor, Sum::kAssign>(k, keys.stride, n, queries.q + t * tile_size, head_dim, scores);
        product<Operand::kRowMajor, Sum::kAssign>(v, values.stride, n, queries.g + t * tile_size, head_dim, dp);
        softmax_gradient({queries.lse + first, queries.delta + first, task.scale,
                          all_see(tile, k0, k0 + n) ? nullptr : &bounds, k0, n, scores, dp});
        product_by_lanes(scores, n, g.data, g.stride, head_dim, n_lanes, task.dv.data + k0 * task.dv.stride,
                         task.dv.stride);
        product_by_lanes(dp, n, q.data, q.stride, head_dim, n_lanes, task.dk.data + k0 * task.dk.stride, task.dk.stride);
        product<Operand::kColumnMajor, Sum::kAccumulate>(k, keys.stride, head_dim, dp, n, task.dq_tiles + t * tile_size);
      }
    }
    if (task.progress.call) task.progress.call(task.progress.argument);
  }
}

}  // namespace

HeadKernels<float> float_kernels() { return {forward_float(), backward<float>}; }
HeadKernels<bfloat16> bfloat16_kernels() { return {forward_bfloat16(), backward<bfloat16>}; }

}  // namespace longspan::LS_CPU_LEVEL
