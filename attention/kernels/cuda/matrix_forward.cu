// Forward by matrix instructions (the scheme of FlashAttention-2, Dao 2023): a warp has rows of queries and meets all keys in
// tiles, so that softmax stays within the warp; scores become weights in registers; the next tile's keys and values are on their
// way meanwhile. The state (O, LSE) of earlier shards is where sums begin.
#include "attention/kernels/cuda/matrix_tiles.h"

namespace longspan::LS_CUDA {

namespace {

constexpr int kWarps = 4, kStages = 2;

// kRowTiles: of 16 queries a warp. With two, each piece of keys and values that a warp fetches from shared memory feeds twice the
// products, which otherwise wait for it; heads beyond 128 leave registers for one. Where sums fill the registers, scores are of
// fewer keys at a time.
template <int kWidth, int kRowTiles>
struct Forward {
  static constexpr int kQueries = kWarps * kRowTiles * 16, kKeys = kWidth <= 128 && kWidth * kRowTiles < 256 ? 64 : 32;
  static constexpr int kTileBytes = kKeys * kWidth * 2, kSharedBytes = kQueries * kWidth * 2 + 2 * kStages * kTileBytes;
  static_assert(kSharedBytes <= kMostSharedBytes && kQueries % kTile == 0);

  using Tile = MatrixTile<kWidth>;
  struct Rows {  // but their sums, which products take together
    float most[2], total[2];
  };
};

// What a lane's two rows see. Asked for where it is needed, which is rare, rather than kept in registers that sums need.
struct RowKeys {
  KeyRange of[2];
};
LS_DEVICE RowKeys keys_of_rows(const ForwardArguments& a, int first_query) {
  const auto of = [&](int half) { return keys_of(a.visible, first_query + sum_row(2 * half), a.shape.num_queries); };
  return {of(0), of(1)};
}

template <int kWidth>
LS_DEVICE void scale_rows(float (&sums)[kWidth / 8][4], const float (&factors)[2]) {
#pragma unroll
  for (int t = 0; t < kWidth / 8; ++t)
#pragma unroll
    for (int i = 0; i < 4; ++i) sums[t][i] *= factors[i / 2];
}

template <int kKeys>
LS_DEVICE void mask(float (&scores)[kKeys / 8][4], const RowKeys& keys, int first_key) {
#pragma unroll
  for (int t = 0; t < kKeys / 8; ++t) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (!keys.of[i / 2].holds(first_key + sum_column(t, i))) scores[t][i] = kMinusInfinity;
    }
  }
}

// Scores, in units of log 2, become weights relative to the largest so far.
template <int kWidth, int kKeys, class Rows>
LS_DEVICE void softmax(float (&scores)[kKeys / 8][4], float (&sums)[kWidth / 8][4], Rows& rows) {
  float largest[2] = {rows.most[0], rows.most[1]};
#pragma unroll
  for (int t = 0; t < kKeys / 8; ++t) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      largest[i / 2] = maximum(scores[t][i], largest[i / 2]);
    }
  }
  float factors[2], base[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    largest[half] = max_over_row(largest[half]);
    base[half] = largest[half] == kMinusInfinity ? 0.0f : largest[half];  // a row that has seen nothing yet
    factors[half] = exp2_approximate(rows.most[half] - base[half]);
    rows.most[half] = largest[half];
    rows.total[half] *= factors[half];
  }
#pragma unroll
  for (int t = 0; t < kKeys / 8; ++t) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      scores[t][i] = exp2_approximate(scores[t][i] - base[i / 2]);
      rows.total[i / 2] += scores[t][i];
    }
  }
  // After the first keys a larger score is rare.
  if (ballot(kAllLanes, factors[0] != 1.0f || factors[1] != 1.0f) != 0) scale_rows<kWidth>(sums, factors);
}

// One lane of the four that share a row begins with the weight of what was carried.
template <int kWidth, class Rows>
LS_DEVICE void begin_rows(Rows& rows, float (&sums)[kWidth / 8][4], const ForwardArguments& a, int head, int first_query) {
  const AttentionShape& s = a.shape;
  const RowKeys keys = keys_of_rows(a, first_query);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int query = first_query + sum_row(2 * half);
    const bool live = !keys.of[half].empty();
    rows.most[half] = live ? load_global(a.lse + static_cast<int64_t>(head) * s.num_queries + query) * kLog2E : kMinusInfinity;
    const bool carried = rows.most[half] != kMinusInfinity;
    rows.total[half] = carried && lane_index() % 4 == 0 ? 1.0f : 0.0f;
    const float* const output = a.output + (static_cast<int64_t>(query) * s.num_heads + head) * s.head_dim;
#pragma unroll
    for (int t = 0; t < kWidth / 8; ++t) {
      const int column = sum_column(t, 0);
      Vector<float, 2> pair{};
      if (carried && column < s.head_dim) pair = load_global(reinterpret_cast<const Vector<float, 2>*>(output + column));
      sums[t][2 * half] = pair[0], sums[t][2 * half + 1] = pair[1];
    }
  }
}

template <int kWidth, class Rows>
LS_DEVICE void end_rows(const Rows& rows, const float (&sums)[kWidth / 8][4], const ForwardArguments& a, int head,
                        int first_query) {
  const AttentionShape& s = a.shape;
  const RowKeys keys = keys_of_rows(a, first_query);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float total = sum_over_row(rows.total[half]);
    const int query = first_query + sum_row(2 * half);
    if (keys.of[half].empty()) continue;
    float* const output = a.output + (static_cast<int64_t>(query) * s.num_heads + head) * s.head_dim;
    const float inverse = 1.0f / total;
#pragma unroll
    for (int t = 0; t < kWidth / 8; ++t) {
      const int column = sum_column(t, 0);
      if (column >= s.head_dim) continue;
      store_global(reinterpret_cast<Vector<float, 2>*>(output + column),
                   Vector<float, 2>{sums[t][2 * half] * inverse, sums[t][2 * half + 1] * inverse});
    }
    if (lane_index() % 4 == 0)
      store_global(a.lse + static_cast<int64_t>(head) * s.num_queries + query,
                   (rows.most[half] + log2_approximate(total)) * kLn2);
  }
}

template <int kWidth, int kRowTiles>
__global__ void __launch_bounds__(kWarps * kWarpSize) forward_kernel(ForwardArguments a) {
  using F = Forward<kWidth, kRowTiles>;
  const AttentionShape s = a.shape;
  const int head = static_cast<int>(block_index().y), kv_head = head / (s.num_heads / s.num_kv_heads);
  // The last queries first: in a causal triangle they have most to do.
  const int first = static_cast<int>(num_blocks().x - 1 - block_index().x) * F::kQueries;
  const int row0 = warp_index() * kRowTiles * 16;
  constexpr int kKeys = F::kKeys;
  const SeenKeys seen = seen_keys<F::kQueries>(a.visible, first, s.num_queries);
  if (seen.any.empty()) return;
  const typename F::Tile q{shared_base()};
  const auto k = [&](int tile) {
    return typename F::Tile{q.base + F::kQueries * kWidth * 2 + tile % kStages * 2 * F::kTileBytes};
  };
  const auto v = [&](int tile) { return typename F::Tile{k(tile).base + F::kTileBytes}; };
  const int begin = seen.any.begin / kKeys, end = (seen.any.end + kKeys - 1) / kKeys;
  const auto load_keys = [&](int tile) {
    k(tile).template load<kKeys>(a.k, kv_head, tile * kKeys, seen.any.begin, seen.any.end, s.head_dim);
    v(tile).template load<kKeys>(a.v, kv_head, tile * kKeys, seen.any.begin, seen.any.end, s.head_dim);
    commit_copies();
  };
  q.template load<F::kQueries>(a.q, head, first, 0, s.num_queries, s.head_dim);
  load_keys(begin);
  typename F::Rows rows[kRowTiles];
  Sums<kRowTiles, kWidth> sums;
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) begin_rows<kWidth>(rows[r], sums[r], a, head, first + row0 + 16 * r);
  for (int tile = begin; tile < end; ++tile) {
    wait_copies<0>();
    sync_block();  // this tile is there, and nobody reads the one before it any more
    if (tile + 1 < end) load_keys(tile + 1);
    const int first_key = tile * kKeys;
    const bool masked = first_key < seen.all.begin || first_key + kKeys > seen.all.end;
    Sums<kRowTiles, kKeys> scores = {};
    multiply_rows_by_rows<kKeys>(scores, q, row0, k(tile));
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
      for (int t = 0; t < kKeys / 8; ++t) {
#pragma unroll
        for (int i = 0; i < 4; ++i) scores[r][t][i] *= s.scale * kLog2E;
      }
      if (masked) mask<kKeys>(scores[r], keys_of_rows(a, first + row0 + 16 * r), first_key);
      softmax<kWidth, kKeys>(scores[r], sums[r], rows[r]);
    }
    multiply_weights_by_rows<kKeys>(sums, scores, v(tile));
  }
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) end_rows<kWidth>(rows[r], sums[r], a, head, first + row0 + 16 * r);
}

template <int kWidth, int kRowTiles>
void launch_forward(NativeStream stream, const ForwardArguments& a) {
  using F = Forward<kWidth, kRowTiles>;
  LaunchShape shape;
  shape.grid[0] = static_cast<unsigned>((a.shape.num_queries + F::kQueries - 1) / F::kQueries);
  shape.grid[1] = static_cast<unsigned>(a.shape.num_heads);
  shape.threads = kWarps * kWarpSize;
  shape.shared_bytes = F::kSharedBytes;
  launch(stream, forward_kernel<kWidth, kRowTiles>, shape, a);
}

}  // namespace

bool takes_matrices(const AttentionShape& shape, const Strided* operands, int num_operands, int most_head_dim) {
  const auto whole = [](int64_t stride) { return stride % kPieceElements == 0; };
  bool takes = shape.head_dim <= most_head_dim && whole(shape.head_dim);
  for (int i = 0; i < num_operands; ++i)
    takes &= reinterpret_cast<uintptr_t>(operands[i].data) % 16 == 0 && whole(operands[i].token_stride) &&
             whole(operands[i].head_stride);
  return takes;
}

void launch_matrix_forward(NativeStream stream, const ForwardArguments& a) {
  const bool few = a.shape.num_queries <= Forward<64, 1>::kQueries;  // as many as one tile a warp takes
  if (a.shape.head_dim <= 64) few ? launch_forward<64, 1>(stream, a) : launch_forward<64, 2>(stream, a);
  else if (a.shape.head_dim <= 96) few ? launch_forward<96, 1>(stream, a) : launch_forward<96, 2>(stream, a);
  else if (a.shape.head_dim <= 128) few ? launch_forward<128, 1>(stream, a) : launch_forward<128, 2>(stream, a);
  else if (a.shape.head_dim <= 192) launch_forward<192, 1>(stream, a);
  else launch_forward<256, 1>(stream, a);
}

}  // namespace longspan::LS_CUDA
