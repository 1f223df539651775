#include "attention/kernels/cpu/division.h"

#include <algorithm>
#include <map>

namespace longspan {

namespace {

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t pairs_within(const KeyIntervals::Tile& tile, int64_t key_begin, int64_t key_end) {
  const int64_t begin = std::max<int64_t>(tile.any_begin, key_begin), end = std::min<int64_t>(tile.any_end, key_end);
  return begin < end ? (end - begin) * kLanes : 0;
}

// Chunks of queries, and pieces of keys: of the length that suits the kernels, or of half of it where that leaves threads
// without work; no more of them than many threads need, with all heads.
int64_t grid_size(int64_t num_tiles, int64_t num_keys, int64_t num_kv_heads, const TaskSizes& sizes) {
  constexpr int64_t kLeastPerWave = 32, kMostPerWave = 64;
  constexpr int64_t kMostTiles = 8192 / kLanes;  // bounds the scratch of a thread
  const int64_t longest = std::max(num_tiles * kLanes, num_keys);
  const int64_t halves = std::min(divide_up(kLeastPerWave, num_kv_heads), 2 * longest / sizes.backward_tokens);
  const int64_t useful = std::min(divide_up(kMostPerWave, num_kv_heads), std::max(longest / sizes.backward_tokens, halves));
  return std::max({int64_t{1}, useful, divide_up(num_tiles, kMostTiles)});
}

// As many pieces as chunks; where lengths are rounded, the last of one kind may be empty.
struct Grid {
  int64_t size = 1, tiles_per_chunk = 0, keys_per_piece = 0;
};

Grid choose_grid(const BackwardRegion& region, int64_t num_kv_heads, const TaskSizes& sizes) {
  const int64_t num_tiles = region.end_tile - region.first_tile, num_keys = region.key_end - region.key_begin;
  const int64_t wanted = grid_size(num_tiles, num_keys, num_kv_heads, sizes);
  const auto units = [](int64_t n, int64_t unit) { return std::max(unit, n / unit * unit); };
  Grid grid{.tiles_per_chunk = units(divide_up(num_tiles, wanted), sizes.chunk_tiles)};  // fewer chunks leave threads idle
  const int64_t num_chunks = divide_up(num_tiles, grid.tiles_per_chunk);
  const int64_t keys = divide_up(num_keys, std::max(wanted, num_chunks));
  grid.keys_per_piece = units(keys + sizes.piece_keys / 2, sizes.piece_keys);
  grid.size = std::max(num_chunks, divide_up(num_keys, grid.keys_per_piece));
  return grid;
}

// Of equally long ones, those first that come first by `place`.
template <class Task>
void longest_first(std::vector<Task>& tasks, int64_t Task::*place) {
  std::sort(tasks.begin(), tasks.end(), [place](const Task& a, const Task& b) {
    return a.num_pairs != b.num_pairs ? a.num_pairs > b.num_pairs : a.*place < b.*place;
  });
}

}  // namespace

std::vector<ForwardStrip> divide_forward(const KeyIntervals& visible, const TaskSizes& sizes) {
  const auto tiles = visible.tiles();
  const auto num_tiles = static_cast<int64_t>(tiles.size());
  std::vector<ForwardStrip> strips;
  strips.reserve(static_cast<size_t>(divide_up(num_tiles, sizes.forward_tiles)));
  for (int64_t first = 0; first < num_tiles; first += sizes.forward_tiles) {
    ForwardStrip strip{.first_tile = first, .num_tiles = std::min(sizes.forward_tiles, num_tiles - first)};
    for (int64_t t = first; t < first + strip.num_tiles; ++t) {
      strip.num_pairs += pairs_within(tiles[static_cast<size_t>(t)], 0, visible.num_keys());
    }
    if (strip.num_pairs > 0) strips.push_back(strip);
  }
  longest_first(strips, &ForwardStrip::first_tile);
  return strips;
}

namespace {

enum class Waves { kSums, kDifferences };

BackwardCell cell_of(const KeyIntervals& visible, const BackwardRegion& region, const Grid& grid, int64_t chunk,
                     int64_t piece) {
  BackwardCell cell{.first_tile = region.first_tile + chunk * grid.tiles_per_chunk,
                    .key_begin = region.key_begin + piece * grid.keys_per_piece};
  cell.num_tiles = std::min(grid.tiles_per_chunk, region.end_tile - cell.first_tile);
  cell.key_end = std::min(cell.key_begin + grid.keys_per_piece, region.key_end);
  for (int64_t t = 0; t < cell.num_tiles; ++t) {
    cell.num_pairs += pairs_within(visible.tiles()[static_cast<size_t>(cell.first_tile + t)], cell.key_begin, cell.key_end);
  }
  return cell;
}

BackwardDivision divide_backward(const KeyIntervals& visible, const BackwardRegion& region, int64_t num_kv_heads,
                                 const Grid& grid, Waves waves) {
  struct Place {
    int64_t num_pairs, chunk, piece;
  };
  BackwardDivision division{.tiles_per_chunk = grid.tiles_per_chunk, .cells = {}, .holds = {}};
  int64_t num_cells = 0;
  for (int64_t place = 0; place < grid.size * grid.size; ++place) {
    num_cells += cell_of(visible, region, grid, place / grid.size, place % grid.size).num_pairs > 0 ? num_kv_heads : 0;
  }
  division.cells.reserve(static_cast<size_t>(num_cells));
  division.holds.reserve(static_cast<size_t>(num_cells));
  for (int64_t wave = 0; wave < grid.size; ++wave) {
    std::vector<Place> places;
    for (int64_t piece = 0; piece < grid.size; ++piece) {
      const int64_t chunk = (wave + (waves == Waves::kSums ? grid.size - piece : piece)) % grid.size;
      const int64_t num_pairs = cell_of(visible, region, grid, chunk, piece).num_pairs;
      if (num_pairs > 0) places.push_back({num_pairs, chunk, piece});
    }
    longest_first(places, &Place::piece);
    for (const Place& at : places) {
      BackwardCell cell = cell_of(visible, region, grid, at.chunk, at.piece);
      for (cell.kv_head = 0; cell.kv_head < num_kv_heads; ++cell.kv_head) {
        division.cells.push_back(cell);
        division.holds.push_back({2 * (cell.kv_head * grid.size + at.chunk), 2 * (cell.kv_head * grid.size + at.piece) + 1});
      }
    }
  }
  return division;
}

}  // namespace

int64_t played_time(const BackwardDivision& division, int num_threads) {
  OrderedTasks tasks(division.holds);
  std::multimap<int64_t, int64_t> running;  // when it ends, and which task
  int64_t now = 0;
  while (!tasks.all_taken() || !running.empty()) {
    while (static_cast<int>(running.size()) < num_threads) {
      const int64_t task = tasks.take();
      if (task == OrderedTasks::kNone) break;
      running.emplace(now + division.cells[static_cast<size_t>(task)].num_pairs, task);
    }
    now = running.begin()->first;
    tasks.finish(running.begin()->second);
    running.erase(running.begin());
  }
  return now;
}

BackwardDivision divide_backward(const KeyIntervals& visible, const BackwardRegion& region, int64_t num_kv_heads,
                                 const TaskSizes& sizes) {
  constexpr int kManyThreads = 16;
  const Grid grid = choose_grid(region, num_kv_heads, sizes);
  const auto divide = [&](Waves waves) { return divide_backward(visible, region, num_kv_heads, grid, waves); };
  const auto time = [&](Waves waves) { return played_time(divide(waves), kManyThreads); };  // one list at a time in memory
  return divide(time(Waves::kSums) <= time(Waves::kDifferences) ? Waves::kSums : Waves::kDifferences);
}

BackwardDivision divide_backward(const KeyIntervals& visible, int64_t num_kv_heads, const TaskSizes& sizes) {
  const auto num_tiles = static_cast<int64_t>(visible.tiles().size());
  return divide_backward(visible, {.end_tile = num_tiles, .key_end = visible.num_keys()}, num_kv_heads, sizes);
}

}  // namespace longspan
