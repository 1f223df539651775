#include "attention/kernels/cpu/amx/backward.h"

#include "attention/kernels/cpu/amx/backward_block.h"

namespace longspan::LS_CPU_LEVEL {

namespace {

constexpr int64_t kBlockTiles = kGradientQueries / kLanes;

int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

bool sees_some(const GradientWindow& window, int64_t tile, int64_t begin, int64_t end) {
  const int64_t query = window.first_query + tile * kLanes;
  if (query >= window.visible.num_queries) return false;
  const KeyIntervals::Tile& sees = window.visible.tiles[query / kLanes];
  return larger(sees.any_begin, begin) < smaller(sees.any_end, end);
}

// Of tiles [first, end), first even: the least even run that holds all that see some of the block of keys; none: num_tiles 0.
GradientBlock trimmed(const GradientWindow& window, int64_t head, int64_t first, int64_t end, int64_t key) {
  int64_t begin = first;
  while (begin < end && !sees_some(window, begin, key, key + kTileBlockKeys)) ++begin;
  while (end > begin && !sees_some(window, end - 1, key, key + kTileBlockKeys)) --end;
  begin = begin / 2 * 2;
  return {.head = head, .tile = begin, .num_tiles = begin < end ? rounded_up(end - begin, 2) : 0, .key = key};
}

// Tiles [first, end) of one head against the keys of a super-block, two blocks at a time where they have the same tiles.
template <int kDims>
void add_gradients(const TileBackwardTask& task, int64_t head, int64_t first, int64_t key_begin, int64_t key_end,
                   BlockGradient<kDims>& gradient) {
  const int64_t end = smaller(first + kBlockTiles, task.end_tile);
  GradientBlock held;  // in slot 0, its dQ still to come
  for (int64_t key = key_begin; key < key_end; key += kTileBlockKeys) {
    const GradientBlock block = trimmed(*task.window, head, first, end, key);
    const bool together = held.num_tiles > 0 && held.num_tiles == block.num_tiles && held.tile == block.tile &&
                          held.key + kTileBlockKeys == key;
    if (held.num_tiles > 0 && !together) gradient.template add_to_queries<1>(held);
    if (block.num_tiles > 0) gradient.add_to_keys(block, together ? 1 : 0);
    if (together) gradient.template add_to_queries<2>(held);
    held = together ? GradientBlock{} : block;
  }
  if (held.num_tiles > 0) gradient.template add_to_queries<1>(held);
}

template <int kDims>
void run(const TileBackwardTask& task) {
  const GradientWindow& window = *task.window;
  const TileSession session;
  const FlushDenormals flush;
  BlockGradient<kDims> gradient(window, task.scratch);
  const int64_t elements = kGradientSuperBlockElements / padded_head_dim(window.head_dim);
  const int64_t super = larger(kTileBlockKeys, elements / kTileBlockKeys * kTileBlockKeys);
  for (int64_t first = task.key_begin; first < task.key_end; first += super) {
    const int64_t end = smaller(first + super, task.key_end);
    for (int64_t head = 0; head < window.group; ++head) {
      for (int64_t tile = task.first_tile; tile < task.end_tile; tile += kBlockTiles) {
        add_gradients<kDims>(task, head, tile, first, end, gradient);
        flush.call(task.progress);
      }
    }
  }
  gradient.flush();
}

}  // namespace

void backward(const TileBackwardTask& task) {
  const int64_t padded = padded_head_dim(task.window->head_dim);
  if (padded == 64) {
    run<64>(task);
  } else if (padded == 128) {
    run<128>(task);
  } else {
    run<0>(task);
  }
}

}  // namespace longspan::LS_CPU_LEVEL
