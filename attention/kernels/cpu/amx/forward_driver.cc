// Forward: keys and values of some key heads are packed, then tiles of the queries of their groups are handed out.
#include "attention/kernels/cpu/amx/driver.h"

namespace longspan {

namespace {

using namespace tile_driver;

constexpr int64_t kPackKeys = 512;  // of a task that packs

// Key heads [heads.begin, heads.end) and keys [keys.begin, keys.end), packed from keys.begin on.
struct ForwardWindow {
  Span heads, keys;
  Workspace<bfloat16> rows, values;
};

void pack_window(const Context& context, const TileKernels& kernels, const AttentionBlock& block, Span seen,
                 const ForwardWindow& window) {
  const int64_t padded = padded_head_dim(block.k.size(2)), num_heads = window.heads.end - window.heads.begin;
  const int64_t num_keys = packed_keys(window.keys.end - window.keys.begin);
  parallel_tasks(context, num_heads * divide_up(num_keys, kPackKeys), [&](int64_t task, int) {
    const int64_t head = task % num_heads, first = task / num_heads * kPackKeys;
    const auto rows_of = [&](const Tensor& x) {
      const Rows<const bfloat16> rows = group_of<const bfloat16>(x, window.heads.begin + head, 1).head(0);
      return PackRows{.data = rows.data, .stride = rows.stride, .head_dim = x.size(2), .begin = seen.begin, .end = seen.end};
    };
    PackTask pack = {.from = rows_of(block.k),
                     .first = window.keys.begin + first,
                     .count = std::min(kPackKeys, num_keys - first),
                     .padded = padded};
    pack.rows = window.rows.row(head) + first * padded;
    kernels.pack(pack);
    pack.from = rows_of(block.v);
    pack.rows = nullptr;
    pack.transposed = window.values.row(head) + first * padded;
    kernels.pack(pack);
  });
}

// How many (tile, head) a task takes: enough tasks that all threads end together, few enough that a super-block of keys is
// used often. What a tile computes does not depend on it.
int64_t works_per_task(const Context& context, int64_t num_works) {
  constexpr int64_t kTasksPerThread = 8, kLeastWorks = 8;
  if (context.num_threads() == 1) return std::min(kMostForwardWorks, num_works);
  return std::clamp(divide_up(num_works, kTasksPerThread * context.num_threads()), kLeastWorks, kMostForwardWorks);
}

void attend_window(const Context& context, const TileKernels& kernels, const AttentionBlock& block,
                   const AttentionState& state, const ForwardWindow& window) {
  const int64_t group = block.q.size(1) / block.k.size(1), head_dim = block.q.size(2), num_queries = block.q.size(0);
  const int64_t num_heads = window.heads.end - window.heads.begin;
  const int64_t works_of_head = static_cast<int64_t>(block.visible->tiles().size()) * group;
  const int64_t works = works_per_task(context, works_of_head * num_heads);
  const int64_t strips = divide_up(works_of_head, works);
  const Workspace<float> scratch(context, context.num_threads(), tile_forward_scratch(padded_head_dim(head_dim), works));
  // The last tiles of a causal shard see most keys; they go first, so that no thread ends long after the others.
  parallel_tasks(context, num_heads * strips, [&](int64_t task, int thread) {
    const int64_t head = task % num_heads, kv_head = window.heads.begin + head, strip = strips - 1 - task / num_heads;
    TileForwardTask work;
    work.q = group_of<const bfloat16>(block.q, kv_head, group);
    work.output = group_of<float>(state.output, kv_head, group);
    work.lse = state.lse.data<float>() + kv_head * group * num_queries;
    work.keys = {.first_key = window.keys.begin,
                 .end_key = window.keys.end,
                 .rows = window.rows.row(head),
                 .values_transposed = window.values.row(head)};
    work.visible = visibility_of(*block.visible);
    work.first = strip * works;
    work.count = std::min(works, works_of_head - strip * works);
    work.group = group;
    work.head_dim = head_dim;
    work.scale = static_cast<float>(block.scale);
    work.scratch = scratch.row(thread);
    work.progress = progress_of(context, thread);
    kernels.forward(work);
  });
}

}  // namespace

void tile_attention_forward(const Context& context, const TileKernels& kernels, const TileWindows& windows,
                            const AttentionBlock& block, const AttentionState& state) {
  const int64_t num_kv_heads = block.k.size(1), padded = padded_head_dim(block.k.size(2));
  const Span seen = seen_keys(*block.visible, {0, static_cast<int64_t>(block.visible->tiles().size())});
  const int64_t first_key = seen.begin / kTileBlockKeys * kTileBlockKeys;
  const int64_t bytes_of_key = 2 * padded * static_cast<int64_t>(sizeof(bfloat16));
  const int64_t most_keys = std::max(kTileBlockKeys, windows.bytes / bytes_of_key / kTileBlockKeys * kTileBlockKeys);
  const int64_t keys_per_window = std::min(most_keys, rounded_up(seen.end - first_key, kTileBlockKeys));
  const int64_t heads_per_window = std::clamp(windows.bytes / (bytes_of_key * keys_per_window), int64_t{1}, num_kv_heads);
  for (int64_t head = 0; head < num_kv_heads; head += heads_per_window) {
    for (int64_t key = first_key; key < seen.end; key += keys_per_window) {
      const ForwardWindow window = {.heads = {head, std::min(head + heads_per_window, num_kv_heads)},
                                    .keys = {key, std::min(key + keys_per_window, seen.end)},
                                    .rows = {context, heads_per_window, packed_keys(keys_per_window) * padded},
                                    .values = {context, heads_per_window, packed_keys(keys_per_window) * padded}};
      pack_window(context, kernels, block, seen, window);
      attend_window(context, kernels, block, state, window);
    }
  }
}

}  // namespace longspan
