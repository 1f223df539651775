// Attention without matrix instructions, for float32 and for head sizes that those do not take. A warp has four rows of the
// stationary operand, its lanes a tile of the other: scores are lane by lane, sums over the tile by columns of the head.
#include "attention/kernels/cuda/kernels.h"
#include "core/kernels/cuda/ptx/barrier.h"
#include "core/kernels/cuda/ptx/launch.h"
#include "core/kernels/cuda/ptx/math.h"
#include "core/kernels/cuda/ptx/memory.h"
#include "core/kernels/cuda/ptx/warp.h"

namespace longspan::LS_CUDA {

namespace {

constexpr int kWarps = 4, kRowsOfWarp = 4, kRows = kWarps * kRowsOfWarp;  // rows of a block
constexpr float kLog2E = 1.44269504088896340736f, kLn2 = 0.69314718055994530942f, kMinusInfinity = -__builtin_inff();

// Rows of floats in shared memory, one float apart, so that lanes that read a column of 32 rows meet no bank twice.
struct SharedRows {
  uint32_t base;
  int pitch;
  LS_DEVICE uint32_t at(int row, int column) const { return base + 4 * (row * pitch + column); }
  LS_DEVICE float operator()(int row, int column) const { return load_shared<float>(at(row, column)); }
};

template <class T>
LS_DEVICE const T* row_of(const Strided& tensor, int64_t token, int64_t head) {
  return static_cast<const T*>(tensor.data) + token * tensor.token_stride + head * tensor.head_stride;
}

// Rows [first, first + count) of one head; zeros outside of [begin, end).
template <class T>
LS_DEVICE void load_rows(const SharedRows& to, const Strided& from, int head, int first, int count, int begin, int end,
                         int head_dim) {
  for (int i = thread_index(); i < count * head_dim; i += num_threads()) {
    const int row = i / head_dim, column = i % head_dim, token = first + row;
    const bool inside = token >= begin && token < end;
    store_shared(to.at(row, column), inside ? to_float(load_global(row_of<T>(from, token, head) + column)) : 0.0f);
  }
}

LS_DEVICE float dot(const SharedRows& a, int row_a, const SharedRows& b, int row_b, int head_dim) {
  float sum = 0;
  for (int d = 0; d < head_dim; ++d) sum += a(row_a, d) * b(row_b, d);
  return sum;
}

// sums[c] += sum over the lanes' rows of weight * row, for columns lane, lane + 32, ...
template <int kColumns>
LS_DEVICE void add_weighted_rows(float (&sums)[kColumns], float weight, const SharedRows& rows, int head_dim) {
  for (int row = 0; row < kTile; ++row) {
    const float factor = shuffle(kAllLanes, weight, row);
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const int column = lane_index() + c * kWarpSize;
      if (column < head_dim) sums[c] += factor * rows(row, column);
    }
  }
}

struct Range {
  int begin, end;
};
// What any of the block's queries sees, in tiles.
LS_DEVICE Range seen_keys(const Intervals& visible, int first_query) {
  const TileInterval tile = load_global(visible.query_tiles + first_query / kTile);
  return {tile.any_begin, tile.any_end};
}
LS_DEVICE Range row_interval(const Intervals& visible, int query, int num_queries) {
  if (query >= num_queries) return {0, 0};
  return {load_global(visible.begin + query), load_global(visible.end + query)};
}

template <class T, int kColumns>
__global__ void __launch_bounds__(kWarps * kWarpSize) forward_kernel(ForwardArguments a) {
  const AttentionShape s = a.shape;
  const int head = static_cast<int>(block_index().y), kv_head = head / (s.num_heads / s.num_kv_heads), d = s.head_dim;
  const int first = static_cast<int>(block_index().x) * kRows, lane = lane_index(), row0 = warp_index() * kRowsOfWarp;
  const Range seen = seen_keys(a.visible, first);
  if (seen.begin >= seen.end) return;
  const SharedRows q{shared_base(), d}, k{q.at(kRows, 0), d + 1}, v{k.at(kTile, 0), d};
  load_rows<T>(q, a.q, head, first, kRows, 0, s.num_queries, d);
  float sums[kRowsOfWarp][kColumns], most[kRowsOfWarp], total[kRowsOfWarp];
  Range mine[kRowsOfWarp];
#pragma unroll
  for (int r = 0; r < kRowsOfWarp; ++r) {
    const int query = first + row0 + r;
    mine[r] = row_interval(a.visible, query, s.num_queries);
    const bool live = mine[r].begin < mine[r].end;
    most[r] = live ? load_global(a.lse + static_cast<int64_t>(head) * s.num_queries + query) * kLog2E : kMinusInfinity;
    total[r] = most[r] == kMinusInfinity ? 0.0f : 1.0f;
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const int column = lane + c * kWarpSize;
      const bool carried = live && column < d && total[r] > 0;
      sums[r][c] = carried ? load_global(a.output + (static_cast<int64_t>(query) * s.num_heads + head) * d + column) : 0.0f;
    }
  }
  for (int tile = seen.begin / kTile * kTile; tile < seen.end; tile += kTile) {
    sync_block();
    load_rows<T>(k, a.k, kv_head, tile, kTile, seen.begin, seen.end, d);
    load_rows<T>(v, a.v, kv_head, tile, kTile, seen.begin, seen.end, d);
    sync_block();
#pragma unroll
    for (int r = 0; r < kRowsOfWarp; ++r) {
      const int key = tile + lane;
      const bool sees = key >= mine[r].begin && key < mine[r].end;
      if (ballot(kAllLanes, sees) == 0) continue;
      const float score = sees ? dot(q, row0 + r, k, lane, d) * s.scale * kLog2E : kMinusInfinity;
      const float largest = maximum(max_over_warp(score), most[r]);
      const float base = largest == kMinusInfinity ? 0.0f : largest;  // where scores are not numbers, p is to show it
      const float factor = exp2_approximate(most[r] - base), p = exp2_approximate(score - base);
      most[r] = largest;
      total[r] = total[r] * factor + sum_over_warp(p);
#pragma unroll
      for (int c = 0; c < kColumns; ++c) sums[r][c] *= factor;
      add_weighted_rows(sums[r], p, v, d);
    }
  }
#pragma unroll
  for (int r = 0; r < kRowsOfWarp; ++r) {
    const int query = first + row0 + r;
    if (mine[r].begin >= mine[r].end) continue;
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const int column = lane + c * kWarpSize;
      if (column < d) {
        store_global(a.output + (static_cast<int64_t>(query) * s.num_heads + head) * d + column, sums[r][c] / total[r]);
      }
    }
    if (lane == 0) {
      store_global(a.lse + static_cast<int64_t>(head) * s.num_queries + query, (most[r] + log2_approximate(total[r])) * kLn2);
    }
  }
}

// p and ds of one score; both 0 where it is not seen.
struct ScoreGradient {
  float p, ds;
};
LS_DEVICE ScoreGradient score_gradient(bool sees, float product, float dp, float lse, float delta, float scale) {
  if (!sees || lse == kMinusInfinity) return {0.0f, 0.0f};
  const float p = exp2_approximate((product * scale - lse) * kLog2E);
  return {p, p * (dp - delta) * scale};
}

// Rows of queries, tiles of keys: dq += ds k.
template <class T, int kColumns>
__global__ void __launch_bounds__(kWarps * kWarpSize) backward_queries_kernel(BackwardArguments a) {
  const AttentionShape s = a.shape;
  const int head = static_cast<int>(block_index().y), kv_head = head / (s.num_heads / s.num_kv_heads), d = s.head_dim;
  const int first = static_cast<int>(block_index().x) * kRows, lane = lane_index(), row0 = warp_index() * kRowsOfWarp;
  const Range seen = seen_keys(a.visible, first);
  if (seen.begin >= seen.end) return;
  const SharedRows q{shared_base(), d}, dy{q.at(kRows, 0), d}, k{dy.at(kRows, 0), d + 1}, v{k.at(kTile, 0), d + 1};
  load_rows<T>(q, a.q, head, first, kRows, 0, s.num_queries, d);
  load_rows<T>(dy, a.doutput, head, first, kRows, 0, s.num_queries, d);
  float sums[kRowsOfWarp][kColumns] = {}, lse[kRowsOfWarp], delta[kRowsOfWarp];
  Range mine[kRowsOfWarp];
#pragma unroll
  for (int r = 0; r < kRowsOfWarp; ++r) {
    const int query = first + row0 + r;
    mine[r] = row_interval(a.visible, query, s.num_queries);
    const int64_t place = static_cast<int64_t>(head) * s.num_queries + query;
    const bool live = mine[r].begin < mine[r].end;
    lse[r] = live ? load_global(a.lse + place) : kMinusInfinity;
    delta[r] = live ? load_global(a.delta + place) : 0.0f;
  }
  for (int tile = seen.begin / kTile * kTile; tile < seen.end; tile += kTile) {
    sync_block();
    load_rows<T>(k, a.k, kv_head, tile, kTile, seen.begin, seen.end, d);
    load_rows<T>(v, a.v, kv_head, tile, kTile, seen.begin, seen.end, d);
    sync_block();
#pragma unroll
    for (int r = 0; r < kRowsOfWarp; ++r) {
      const int key = tile + lane;
      const bool sees = key >= mine[r].begin && key < mine[r].end;
      if (ballot(kAllLanes, sees) == 0) continue;
      const float product = dot(q, row0 + r, k, lane, d), dp = dot(dy, row0 + r, v, lane, d);
      add_weighted_rows(sums[r], score_gradient(sees, product, dp, lse[r], delta[r], s.scale).ds, k, d);
    }
  }
#pragma unroll
  for (int r = 0; r < kRowsOfWarp; ++r) {
    const int64_t query = first + row0 + r;
    if (mine[r].begin >= mine[r].end) continue;
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const int column = lane + c * kWarpSize;
      if (column >= d) continue;
      float* const to = a.dq + (query * s.num_heads + head) * d + column;
      store_global(to, load_global(to) + sums[r][c]);
    }
  }
}

// Rows of keys, tiles of queries of each head of the group in order: dk += ds^T q, dv += p^T dy.
template <class T, int kColumns>
__global__ void __launch_bounds__(kWarps * kWarpSize) backward_keys_kernel(BackwardArguments a) {
  const AttentionShape s = a.shape;
  const int kv_head = static_cast<int>(block_index().y), group = s.num_heads / s.num_kv_heads, d = s.head_dim;
  const int first = static_cast<int>(block_index().x) * kRows, lane = lane_index(), row0 = warp_index() * kRowsOfWarp;
  const QueryRange seers = load_global(a.visible.key_tiles + first / kTile);
  if (seers.begin >= seers.end) return;
  const SharedRows k{shared_base(), d}, v{k.at(kRows, 0), d}, q{v.at(kRows, 0), d + 1}, dy{q.at(kTile, 0), d + 1};
  load_rows<T>(k, a.k, kv_head, first, kRows, 0, s.num_keys, d);
  load_rows<T>(v, a.v, kv_head, first, kRows, 0, s.num_keys, d);
  float dk[kRowsOfWarp][kColumns] = {}, dv[kRowsOfWarp][kColumns] = {};
  bool seen[kRowsOfWarp] = {};
  for (int head = kv_head * group; head < (kv_head + 1) * group; ++head) {
    for (int tile = seers.begin / kTile * kTile; tile < seers.end; tile += kTile) {
      sync_block();
      load_rows<T>(q, a.q, head, tile, kTile, 0, s.num_queries, d);
      load_rows<T>(dy, a.doutput, head, tile, kTile, 0, s.num_queries, d);
      sync_block();
      const Range mine = row_interval(a.visible, tile + lane, s.num_queries);
      const int64_t place = static_cast<int64_t>(head) * s.num_queries + tile + lane;
      const bool live = mine.begin < mine.end;
      const float lse = live ? load_global(a.lse + place) : kMinusInfinity, delta = live ? load_global(a.delta + place) : 0.0f;
#pragma unroll
      for (int r = 0; r < kRowsOfWarp; ++r) {
        const int key = first + row0 + r;
        const bool sees = key >= mine.begin && key < mine.end;
        if (ballot(kAllLanes, sees) == 0) continue;
        seen[r] = true;
        const float product = dot(k, row0 + r, q, lane, d), dp = dot(v, row0 + r, dy, lane, d);
        const ScoreGradient gradient = score_gradient(sees, product, dp, lse, delta, s.scale);
        add_weighted_rows(dk[r], gradient.ds, q, d);
        add_weighted_rows(dv[r], gradient.p, dy, d);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kRowsOfWarp; ++r) {
    if (!seen[r]) continue;
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const int column = lane + c * kWarpSize;
      if (column >= d) continue;
      const int64_t place = (static_cast<int64_t>(first + row0 + r) * s.num_kv_heads + kv_head) * d + column;
      store_global(a.dk + place, load_global(a.dk + place) + dk[r][c]);
      store_global(a.dv + place, load_global(a.dv + place) + dv[r][c]);
    }
  }
}

LaunchShape shape_for(int rows, int heads, int shared_floats) {
  LaunchShape shape;
  shape.grid[0] = static_cast<unsigned>((rows + kRows - 1) / kRows);
  shape.grid[1] = static_cast<unsigned>(heads);
  shape.threads = kWarps * kWarpSize;
  shape.shared_bytes = static_cast<unsigned>(shared_floats) * sizeof(float);
  return shape;
}

template <int n>
struct Columns {};
// Calls body(T{}, Columns<n>{}) for heads of up to 32 n.
template <class Body>
void with_columns(DType dtype, int head_dim, Body body) {
  const auto with_type = [&](auto columns) {
    if (dtype == DType::kFloat32) body(float{}, columns);
    else body(bfloat16{}, columns);
  };
  if (head_dim <= 64) with_type(Columns<2>{});
  else if (head_dim <= 128) with_type(Columns<4>{});
  else with_type(Columns<8>{});
}

}  // namespace

void launch_plain_forward(NativeStream stream, DType dtype, const ForwardArguments& a) {
  const AttentionShape& s = a.shape;
  with_columns(dtype, s.head_dim, [&]<class T, int n>(T, Columns<n>) {
    launch(stream, forward_kernel<T, n>, shape_for(s.num_queries, s.num_heads, kRows * s.head_dim + kTile * (2 * s.head_dim + 1)),
           a);
  });
}

void launch_plain_backward(NativeStream stream, DType dtype, const BackwardArguments& a) {
  const AttentionShape& s = a.shape;
  const int shared_floats = 2 * kRows * s.head_dim + 2 * kTile * (s.head_dim + 1);
  with_columns(dtype, s.head_dim, [&]<class T, int n>(T, Columns<n>) {
    launch(stream, backward_queries_kernel<T, n>, shape_for(s.num_queries, s.num_heads, shared_floats), a);
    launch(stream, backward_keys_kernel<T, n>, shape_for(s.num_keys, s.num_kv_heads, shared_floats), a);
  });
}

}  // namespace longspan::LS_CUDA
