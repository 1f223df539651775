// Backward by matrix instructions, in two kernels so that every sum has one owner and one order: a block of queries makes its
// dq, a block of keys its dk and dv. Scores and their gradients are computed in both, 7 products where one kernel that adds
// with atomics needs 5, and results are the same bits every time.
#include "attention/kernels/cuda/matrix_tiles.h"
#include "attention/kernels/key_factors.h"

namespace longspan::LS_CUDA {

namespace {

constexpr int kWarps = 4, kRows = kWarps * 16, kColumns = 64;  // stationary rows of a block, and what it meets at a time
static_assert(kRows % kTile == 0 && kColumns % kTile == 0);

template <int kWidth>
constexpr int kTileBytes = 64 * kWidth * 2;
// What a block of keys meets at a time: wide heads leave no registers for the scores of more.
template <int kWidth>
constexpr int kQueriesOfStep = kWidth <= 64 ? 64 : 32;
static_assert(kQueriesOfStep<64> % kTile == 0 && kQueriesOfStep<128> % kTile == 0);

LS_DEVICE float probability(float product, float scale, float lse) { return exp2_approximate(product * scale - lse); }

// += to the rows of one head, but for those that `skipped` names.
template <int kWidth, class Skipped>
LS_DEVICE void add_rows(float* to, const float (&sums)[kWidth / 8][4], int first_token, int head, int num_heads, int head_dim,
                        Skipped skipped) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int token = first_token + sum_row(2 * half);
    if (skipped(half, token)) continue;
    float* const row = to + (static_cast<int64_t>(token) * num_heads + head) * head_dim;
#pragma unroll
    for (int t = 0; t < kWidth / 8; ++t) {
      const int column = sum_column(t, 0);
      if (column >= head_dim) continue;
      auto* const pair = reinterpret_cast<Vector<float, 2>*>(row + column);
      const auto before = load_global(pair);
      store_global(pair, Vector<float, 2>{before[0] + sums[t][2 * half], before[1] + sums[t][2 * half + 1]});
    }
  }
}

template <int kWidth>
__global__ void __launch_bounds__(kWarps * kWarpSize) backward_queries_kernel(BackwardArguments a) {
  using Tile = MatrixTile<kWidth>;
  const AttentionShape s = a.shape;
  const int head = static_cast<int>(block_index().y), kv_head = head / (s.num_heads / s.num_kv_heads);
  const int first = static_cast<int>(num_blocks().x - 1 - block_index().x) * kRows, row0 = warp_index() * 16;
  const SeenKeys seen = seen_keys<kRows>(a.visible, first, s.num_queries);
  if (seen.any.empty()) return;
  const Tile q{shared_base()}, dy{q.base + kTileBytes<kWidth>};
  const auto k = [&](int tile) { return Tile{dy.base + (1 + 2 * (tile % 2)) * kTileBytes<kWidth>}; };
  const auto v = [&](int tile) { return Tile{k(tile).base + kTileBytes<kWidth>}; };
  const int begin = seen.any.begin / kColumns, end = (seen.any.end + kColumns - 1) / kColumns;
  const auto load_keys = [&](int tile) {
    k(tile).template load<kColumns>(a.k, kv_head, tile * kColumns, seen.any.begin, seen.any.end, s.head_dim);
    v(tile).template load<kColumns>(a.v, kv_head, tile * kColumns, seen.any.begin, seen.any.end, s.head_dim);
    commit_copies();
  };
  q.template load<kRows>(a.q, head, first, 0, s.num_queries, s.head_dim);
  dy.template load<kRows>(a.doutput, head, first, 0, s.num_queries, s.head_dim);
  load_keys(begin);
  KeyRange keys[2];
  float lse[2], delta[2];
  Sums<1, kWidth> sums = {};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int query = first + row0 + sum_row(2 * half);
    keys[half] = keys_of(a.visible, query, s.num_queries);
    const int64_t place = static_cast<int64_t>(head) * s.num_queries + query;
    lse[half] = keys[half].empty() ? kMinusInfinity : load_global(a.lse + place) * kLog2E;
    if (lse[half] == kMinusInfinity) keys[half] = {0, 0};  // no gradient
    delta[half] = keys[half].empty() ? 0.0f : load_global(a.delta + place);
  }
  for (int tile = begin; tile < end; ++tile) {
    wait_copies<0>();
    sync_block();
    if (tile + 1 < end) load_keys(tile + 1);
    Sums<1, kColumns> scores = {}, gradients = {};
    multiply_rows_by_rows<kColumns>(scores, q, row0, k(tile));
    multiply_rows_by_rows<kColumns>(gradients, dy, row0, v(tile));
#pragma unroll
    for (int t = 0; t < kColumns / 8; ++t) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const bool sees = keys[i / 2].holds(tile * kColumns + sum_column(t, i));
        float& gradient = gradients[0][t][i];
        const float p = sees ? probability(scores[0][t][i], s.scale * kLog2E, lse[i / 2]) : 0.0f;
        gradient = sees ? p * (gradient - delta[i / 2]) * s.scale : 0.0f;
      }
    }
    multiply_weights_by_rows<kColumns>(sums, gradients, k(tile));
  }
  add_rows<kWidth>(a.dq, sums[0], first + row0, head, s.num_heads, s.head_dim, [&](int half, int) { return keys[half].empty(); });
}

// What a query of the tile brings to every key: its interval, LSE in units of log 2, and delta.
struct QueryFacts {
  int begin, end;
  float lse, delta;
};

// What p is multiplied by before it is rounded, by the row of the block (key_factors.h); dv is divided by it.
struct KeyFactors {
  float of_row[kRows];
};
static_assert(kRows <= kKeyFactors);

template <int kWidth>
__global__ void __launch_bounds__(kWarps * kWarpSize) backward_keys_kernel(BackwardArguments a, KeyFactors factors) {
  using Tile = MatrixTile<kWidth>;
  const AttentionShape s = a.shape;
  const int kv_head = static_cast<int>(block_index().y), group = s.num_heads / s.num_kv_heads;
  const int first = static_cast<int>(block_index().x) * kRows, row0 = warp_index() * 16;
  QueryRange seers{0x7fffffff, 0};
  for (int tile = first / kTile; tile < (first + kRows) / kTile && tile * kTile < s.num_keys; ++tile) {
    const QueryRange each = load_global(a.visible.key_tiles + tile);
    if (each.begin < each.end) seers = {least(seers.begin, each.begin), most(seers.end, each.end)};
  }
  if (seers.begin >= seers.end) return;
  const Tile k{shared_base()}, v{k.base + kTileBytes<kWidth>};
  constexpr int kQueries = kQueriesOfStep<kWidth>, kStepBytes = kQueries * kWidth * 2;
  const auto q = [&](int step) { return Tile{v.base + kTileBytes<kWidth> + step % 2 * 2 * kStepBytes}; };
  const auto dy = [&](int step) { return Tile{q(step).base + kStepBytes}; };
  const auto facts = [&](int step) { return q(0).base + 4 * kStepBytes + step % 2 * kQueries * 16; };  // [kQueries]
  // One sequence of steps over the heads of the group and their tiles of queries.
  const int begin = seers.begin / kQueries, tiles = (seers.end + kQueries - 1) / kQueries - begin, steps = group * tiles;
  const auto load_queries = [&](int step) {
    const int head = kv_head * group + step / tiles, tile = (begin + step % tiles) * kQueries;
    q(step).template load<kQueries>(a.q, head, tile, 0, s.num_queries, s.head_dim);
    dy(step).template load<kQueries>(a.doutput, head, tile, 0, s.num_queries, s.head_dim);
    commit_copies();
  };
  k.template load<kRows>(a.k, kv_head, first, 0, s.num_keys, s.head_dim);
  v.template load<kRows>(a.v, kv_head, first, 0, s.num_keys, s.head_dim);
  load_queries(0);
  Sums<1, kWidth> dk = {}, dv = {};
  const float factor[2] = {factors.of_row[row0 + sum_row(0)], factors.of_row[row0 + sum_row(2)]};
  for (int step = 0; step < steps; ++step) {
    const int head = kv_head * group + step / tiles, tile = (begin + step % tiles) * kQueries;
    for (int i = thread_index(); i < kQueries; i += num_threads()) {
      const KeyRange keys = keys_of(a.visible, tile + i, s.num_queries);
      const int64_t place = static_cast<int64_t>(head) * s.num_queries + tile + i;
      QueryFacts fact{keys.begin, keys.end, kMinusInfinity, 0.0f};
      if (!keys.empty()) fact = {keys.begin, keys.end, load_global(a.lse + place) * kLog2E, load_global(a.delta + place)};
      if (fact.lse == kMinusInfinity) fact = {0, 0, 0.0f, 0.0f};
      store_shared(facts(step) + 16 * i,
                   Vector<float, 4>{bits_to_float(fact.begin), bits_to_float(fact.end), fact.lse, fact.delta});
    }
    wait_copies<0>();
    sync_block();  // this step's queries are there, and nobody works on those before any more
    if (step + 1 < steps) load_queries(step + 1);
    Sums<1, kQueries> weights = {}, gradients = {};
    multiply_rows_by_rows<kQueries>(weights, k, row0, q(step));
    multiply_rows_by_rows<kQueries>(gradients, v, row0, dy(step));
#pragma unroll
    for (int t = 0; t < kQueries / 8; ++t) {
#pragma unroll
      for (int column = 0; column < 2; ++column) {
        const auto fact = load_shared<Vector<float, 4>>(facts(step) + 16 * sum_column(t, column));
        const KeyRange keys{float_to_bits(fact[0]), float_to_bits(fact[1])};
#pragma unroll
        for (int i = column; i < 4; i += 2) {
          const bool sees = keys.holds(first + row0 + sum_row(i));
          float &weight = weights[0][t][i], &gradient = gradients[0][t][i];
          const float p = sees ? probability(weight, s.scale * kLog2E, fact[2]) : 0.0f;
          gradient = sees ? p * (gradient - fact[3]) * s.scale : 0.0f;  // a key may be no number
          weight = p * factor[i / 2];
        }
      }
    }
    multiply_weights_by_rows<kQueries>(dv, weights, dy(step));
    multiply_weights_by_rows<kQueries>(dk, gradients, q(step));
  }
#pragma unroll
  for (int t = 0; t < kWidth / 8; ++t) {
#pragma unroll
    for (int i = 0; i < 4; ++i) dv[0][t][i] /= factor[i / 2];
  }
  const auto beyond = [&](int, int token) { return token >= s.num_keys; };
  add_rows<kWidth>(a.dk, dk[0], first + row0, kv_head, s.num_kv_heads, s.head_dim, beyond);
  add_rows<kWidth>(a.dv, dv[0], first + row0, kv_head, s.num_kv_heads, s.head_dim, beyond);
}

template <int kWidth>
void launch_backward(NativeStream stream, const BackwardArguments& a) {
  const auto shape_for = [&](int rows, int heads, int shared_bytes) {
    LaunchShape shape;
    shape.grid[0] = static_cast<unsigned>((rows + kRows - 1) / kRows);
    shape.grid[1] = static_cast<unsigned>(heads);
    shape.threads = kWarps * kWarpSize;
    shape.shared_bytes = static_cast<unsigned>(shared_bytes);
    return shape;
  };
  constexpr int kFactBytes = 2 * kQueriesOfStep<kWidth> * static_cast<int>(sizeof(QueryFacts));
  constexpr int kQueriesBytes = 4 * kQueriesOfStep<kWidth> * kWidth * 2;
  constexpr int kSharedOfQueries = 6 * kTileBytes<kWidth>, kSharedOfKeys = 2 * kTileBytes<kWidth> + kQueriesBytes + kFactBytes;
  static_assert(kSharedOfQueries <= kMostSharedBytes && kSharedOfKeys <= kMostSharedBytes);
  KeyFactors factors;
  for (int row = 0; row < kRows; ++row) factors.of_row[row] = kFactorOfKey[static_cast<size_t>(row)];
  launch(stream, backward_queries_kernel<kWidth>, shape_for(a.shape.num_queries, a.shape.num_heads, kSharedOfQueries), a);
  launch(stream, backward_keys_kernel<kWidth>, shape_for(a.shape.num_keys, a.shape.num_kv_heads, kSharedOfKeys), a, factors);
}

}  // namespace

void launch_matrix_backward(NativeStream stream, const BackwardArguments& a) {
  if (a.shape.head_dim <= 64) launch_backward<64>(stream, a);
  else if (a.shape.head_dim <= 96) launch_backward<96>(stream, a);
  else launch_backward<128>(stream, a);
}

}  // namespace longspan::LS_CUDA
