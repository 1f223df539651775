// Backward: windows of queries and keys are packed, gradients are summed in tiles by tasks that share no rows at the same
// time (division.h), and then added to the caller's.
#include <limits>

#include "attention/kernels/cpu/amx/gradient_arrays.h"
#include "attention/kernels/cpu/division.h"
#include "attention/kernels/key_factors.h"

namespace longspan {

namespace {

using namespace tile_driver;

constexpr float kLog2E = 1.44269504088896341f, kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kPackTiles = 8, kPackKeys = 256;  // of a task that packs or adds
static_assert(kTileBlockKeys == kKeyFactors);

class BackwardProblem {
 public:
  BackwardProblem(const Context& context, const TileKernels& kernels, const TileWindows& windows, const AttentionBlock& block,
                  const AttentionGradient& gradient)
      : context_(context),
        kernels_(kernels),
        windows_(windows),
        block_(block),
        gradient_(gradient),
        num_queries_(block.q.size(0)),
        num_kv_heads_(block.k.size(1)),
        group_(block.q.size(1) / num_kv_heads_),
        head_dim_(block.q.size(2)),
        padded_(padded_head_dim(head_dim_)),
        num_tiles_(static_cast<int64_t>(block.visible->tiles().size())) {}

  void run() const {
    const GradientExtent extent = choose_extent();
    const GradientArrays arrays(context_, extent, group_, padded_);
    const int64_t tiles_per_window = extent.lanes / kLanes;
    for (int64_t head = 0; head < num_kv_heads_; head += extent.heads) {
      const Span heads = {head, std::min(head + extent.heads, num_kv_heads_)};
      for (int64_t tile = 0; tile < num_tiles_; tile += tiles_per_window) {
        const Span tiles = {tile, std::min(tile + tiles_per_window, num_tiles_)};
        const Span seen = seen_keys(*block_.visible, tiles);
        for (int64_t key = seen.begin / kTileBlockKeys * kTileBlockKeys; key < seen.end; key += extent.keys) {
          run_window(windows_of(arrays, heads, tiles, {key, std::min(key + extent.keys, seen.end)}), heads.begin, seen);
        }
      }
    }
  }

 private:
  using Windows = std::vector<GradientWindow>;  // of the key heads that are worked on together

  GradientExtent choose_extent() const {
    const Span seen = seen_keys(*block_.visible, {0, num_tiles_});
    const int64_t seen_block = seen.begin / kTileBlockKeys * kTileBlockKeys;
    return gradient_extent(windows_, num_tiles_ * kLanes, seen.end - seen_block, num_kv_heads_, group_, padded_);
  }

  Windows windows_of(const GradientArrays& arrays, Span heads, Span tiles, Span keys) const {
    Windows windows;
    for (int64_t h = 0; h < heads.end - heads.begin; ++h) {
      GradientWindow w = arrays.window(h);
      w.first_query = tiles.begin * kLanes;
      w.query_tiles = rounded_up(tiles.end - tiles.begin, 2);
      w.group = group_;
      w.first_key = keys.begin;
      w.end_key = keys.end;
      w.head_dim = head_dim_;
      w.visible = visibility_of(*block_.visible);
      w.scale = static_cast<float>(block_.scale);
      windows.push_back(w);
    }
    return windows;
  }

  void run_window(const Windows& windows, int64_t first_head, Span seen) const {
    const GradientWindow& w = windows.front();
    const auto num_heads = static_cast<int64_t>(windows.size());
    set_bounds(w);
    const int64_t pieces = divide_up(w.end_key - w.first_key, kPackKeys);
    const int64_t chunks = group_ * divide_up(w.query_tiles, kPackTiles);
    // Task of a head -> its queries, then its keys.
    const auto for_all = [&](const auto& queries, const auto& keys) {
      parallel_tasks(context_, num_heads * (chunks + pieces), [&](int64_t task, int) {
        const int64_t i = task / num_heads, h = task % num_heads;
        const GradientWindow& window = windows[static_cast<size_t>(h)];
        if (i < chunks) {
          queries(window, first_head + h, i % group_, i / group_ * kPackTiles);
        } else {
          keys(window, first_head + h, (i - chunks) * kPackKeys);
        }
      });
    };
    for_all([&](const auto&... x) { pack_queries(x...); },
            [&](const auto& window, int64_t head, int64_t first) { pack_keys(window, head, first, seen); });
    sum_gradients(windows);
    for_all([&](const auto&... x) { add_queries(x...); }, [&](const auto&... x) { add_keys(x...); });
  }

  void set_bounds(const GradientWindow& w) const {
    for (int64_t i = 0; i < w.query_tiles * kLanes; ++i) {
      const int64_t query = w.first_query + i;
      const bool exists = query < num_queries_;
      w.begin[i] = exists ? w.visible.begin[query] : 0;
      w.length[i] = exists ? w.visible.end[query] - w.visible.begin[query] : 0;
    }
  }

  // Tiles from `first` on of one head of the group; sums begin at 0.
  void pack_queries(const GradientWindow& w, int64_t kv_head, int64_t h, int64_t first) const {
    const int64_t num_tiles = std::min(kPackTiles, w.query_tiles - first);
    const int64_t lane = (h * w.query_tiles + first) * kLanes, at = lane * padded_;
    const auto rows_of = [&](const Tensor& x) {
      const Rows<const bfloat16> rows = group_of<const bfloat16>(x, kv_head, group_).head(h);
      return PackRows{.data = rows.data, .stride = rows.stride, .head_dim = head_dim_, .begin = 0, .end = num_queries_};
    };
    PackTask pack = {.from = rows_of(block_.q),
                     .first = w.first_query + first * kLanes,
                     .count = num_tiles * kLanes,
                     .padded = padded_};
    pack.columns = w.q_columns + at;
    pack.pairs = w.q_pairs + at;
    kernels_.pack(pack);
    pack.from = rows_of(gradient_.doutput);
    pack.columns = w.g_columns + at;
    pack.pairs = w.g_pairs + at;
    kernels_.pack(pack);
    std::fill_n(w.dq + at, num_tiles * kLanes * padded_, 0.0f);
    const int64_t row = (kv_head * group_ + h) * num_queries_;
    for (int64_t i = 0; i < num_tiles * kLanes; ++i) {
      const int64_t query = pack.first + i;
      const float lse = query < num_queries_ ? gradient_.lse.data<float>()[row + query] : -kInfinity;
      const bool none = lse == -kInfinity;
      w.lse[lane + i] = none ? kInfinity : plain_nan(lse * kLog2E);
      w.delta[lane + i] = none ? 0.0f : plain_nan(gradient_.delta.data<float>()[row + query]);
    }
  }

  // Rounding by adding to the bits must not carry out of a NaN.
  static float plain_nan(float x) { return x != x ? std::numeric_limits<float>::quiet_NaN() : x; }

  void pack_keys(const GradientWindow& w, int64_t kv_head, int64_t first, Span seen) const {
    const int64_t count = std::min(kPackKeys, rounded_up(w.end_key - w.first_key, kTileBlockKeys) - first);
    const int64_t at = first * padded_;
    const auto rows_of = [&](const Tensor& x) {
      const Rows<const bfloat16> rows = group_of<const bfloat16>(x, kv_head, 1).head(0);
      return PackRows{.data = rows.data, .stride = rows.stride, .head_dim = head_dim_, .begin = seen.begin, .end = seen.end};
    };
    PackTask pack = {.from = rows_of(block_.k), .first = w.first_key + first, .count = count, .padded = padded_};
    pack.rows = w.k_rows + at;
    pack.transposed = w.k_transposed + at;
    kernels_.pack(pack);
    pack.from = rows_of(block_.v);
    pack.rows = w.v_rows + at;
    pack.transposed = nullptr;
    kernels_.pack(pack);
    std::fill_n(w.dk + at, count * padded_, 0.0f);
    std::fill_n(w.dv + at, count * padded_, 0.0f);
  }

  void sum_gradients(const Windows& windows) const {
    const GradientWindow& w = windows.front();
    const int64_t first_tile = w.first_query / kLanes;
    const BackwardRegion region = {.first_tile = first_tile,
                                   .end_tile = std::min(first_tile + w.query_tiles, num_tiles_),
                                   .key_begin = w.first_key,
                                   .key_end = w.end_key};
    const auto num_heads = static_cast<int64_t>(windows.size());
    const BackwardDivision division = divide_backward(*block_.visible, region, num_heads, kTileTaskSizes);
    const Workspace<float> scratch(context_, context_.num_threads(), kTileBackwardScratch);
    parallel_tasks(context_, OrderedTasks(division.holds), [&](int64_t i, int thread) {
      const BackwardCell& cell = division.cells[static_cast<size_t>(i)];
      TileBackwardTask task;
      task.window = &windows[static_cast<size_t>(cell.kv_head)];
      task.first_tile = cell.first_tile - first_tile;
      task.end_tile = task.first_tile + cell.num_tiles;
      task.key_begin = cell.key_begin;
      task.key_end = cell.key_end;
      task.scratch = scratch.row(thread);
      task.progress = progress_of(context_, thread);
      kernels_.backward(task);
    });
  }

  bool sees_some(const GradientWindow& w, int64_t tile) const {
    const KeyIntervals::Tile& sees = w.visible.tiles[w.first_query / kLanes + tile];
    return std::max<int64_t>(sees.any_begin, w.first_key) < std::min<int64_t>(sees.any_end, w.end_key);
  }

  void add_queries(const GradientWindow& w, int64_t kv_head, int64_t h, int64_t first) const {
    const Rows<float> rows = group_of<float>(gradient_.dq, kv_head, group_).head(h);
    for (int64_t t = first; t < std::min(first + kPackTiles, w.query_tiles); ++t) {
      const int64_t query = w.first_query + t * kLanes;
      if (query >= num_queries_) return;
      if (!sees_some(w, t)) continue;
      kernels_.add_dq({.sums = w.dq + (h * w.query_tiles + t) * kLanes * padded_,
                       .to = {rows.data + query * rows.stride, rows.stride},
                       .num_rows = std::min(kLanes, num_queries_ - query),
                       .head_dim = head_dim_,
                       .factor = w.scale});
    }
  }

  void add_keys(const GradientWindow& w, int64_t kv_head, int64_t first) const {
    const Rows<float> dk = group_of<float>(gradient_.dk, kv_head, 1).head(0);
    const Rows<float> dv = group_of<float>(gradient_.dv, kv_head, 1).head(0);
    const int64_t end = std::min(first + kPackKeys, w.end_key - w.first_key);
    for (int64_t k = first; k < end; k += kTileBlockKeys) {
      const int64_t key = w.first_key + k, count = std::min(kTileBlockKeys, end - k);
      const float* divisors = kFactorOfKey.data();
      kernels_.add_dkv({w.dk + k * padded_, {dk.data + key * dk.stride, dk.stride}, count, head_dim_, w.scale});
      kernels_.add_dkv({w.dv + k * padded_, {dv.data + key * dv.stride, dv.stride}, count, head_dim_, 1.0f, divisors});
    }
  }

  const Context& context_;
  const TileKernels& kernels_;
  const TileWindows& windows_;
  const AttentionBlock& block_;
  const AttentionGradient& gradient_;
  int64_t num_queries_, num_kv_heads_, group_, head_dim_, padded_, num_tiles_;
};

}  // namespace

int64_t tile_backward_bytes(const TileWindows& windows, const AttentionBlockShape& shape) {
  const int64_t padded = padded_head_dim(shape.head_dim), group = shape.num_heads / shape.num_kv_heads;
  const GradientExtent extent =
      gradient_extent(windows, shape.num_queries, shape.num_keys, shape.num_kv_heads, group, padded);
  return extent.heads * extent.bytes_of_head(group, padded);
}

void tile_attention_backward(const Context& context, const TileKernels& kernels, const TileWindows& windows,
                             const AttentionBlock& block, const AttentionGradient& gradient) {
  BackwardProblem(context, kernels, windows, block, gradient).run();
}

}  // namespace longspan
