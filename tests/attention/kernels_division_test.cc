// How the work of block attention is divided: everything once, nothing that is shared at the same time, and threads that end
// together. Balance is that of counted work on threads that are played here; no clock decides.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "attention/kernels/cpu/amx/tasks.h"
#include "attention/kernels/cpu/division.h"
#include "core/base/random.h"

namespace longspan {
namespace {

KeyIntervals causal(int64_t n) {
  std::vector<IndexInterval> visible;
  for (int64_t i = 0; i < n; ++i) visible.push_back({0, i + 1});
  return KeyIntervals(visible, {{.start = 0, .stride = 1, .length = n}});
}

KeyIntervals full(int64_t n) {
  return KeyIntervals(std::vector<IndexInterval>(static_cast<size_t>(n), {0, n}), {{.start = 0, .stride = 1, .length = n}});
}

KeyIntervals window(int64_t n, int64_t width) {
  std::vector<IndexInterval> visible;
  for (int64_t i = 0; i < n; ++i) visible.push_back({i + 1 - width, i + 1});
  return KeyIntervals(visible, {{.start = 0, .stride = 1, .length = n}});
}

KeyIntervals documents(int64_t n, int64_t count) {
  const RandomStream random(3, "documents");
  std::set<int64_t> starts = {0};
  for (uint64_t i = 0; static_cast<int64_t>(starts.size()) < count; ++i) {
    starts.insert(static_cast<int64_t>(random.below(i, static_cast<uint64_t>(n))));
  }
  std::vector<IndexInterval> visible;
  for (int64_t i = 0; i < n; ++i) visible.push_back({*std::prev(starts.upper_bound(i)), i + 1});
  return KeyIntervals(visible, {{.start = 0, .stride = 1, .length = n}});
}

// The second of two ranks of a zigzag meets the keys of the first: queries of two middle quarters, keys of the outer ones.
KeyIntervals zigzag(int64_t n) {
  std::vector<IndexInterval> visible;
  for (int64_t i = n / 2; i < 3 * n / 2; ++i) visible.push_back({0, i + 1});
  return KeyIntervals(visible, {{.start = 0, .stride = 1, .length = n / 2}, {.start = 3 * n / 2, .stride = 1, .length = n / 2}});
}

// The share of the threads' time that is work, when they end together with the last of them.
double efficiency(const BackwardDivision& division, int num_threads) {
  int64_t total = 0;
  for (const BackwardCell& cell : division.cells) total += cell.num_pairs;
  return static_cast<double>(total) / static_cast<double>(played_time(division, num_threads) * num_threads);
}

// The strips of forward, of each head, as cells that share nothing.
BackwardDivision as_cells(const std::vector<ForwardStrip>& strips, int64_t num_heads) {
  BackwardDivision division;
  for (size_t i = 0; i < strips.size() * static_cast<size_t>(num_heads); ++i) {
    const ForwardStrip& strip = strips[i / static_cast<size_t>(num_heads)];
    const auto n = static_cast<int64_t>(division.cells.size());
    division.cells.push_back({.num_pairs = strip.num_pairs});
    division.holds.push_back({2 * n, 2 * n + 1});
  }
  return division;
}

struct Shape {
  std::string name;
  KeyIntervals visible;
};

std::vector<Shape> shapes() {
  std::vector<Shape> all;
  all.push_back({"causal, 16k", causal(16384)});
  all.push_back({"causal, 4k", causal(4096)});
  all.push_back({"full, 4k", full(4096)});
  all.push_back({"documents, 16k", documents(16384, 64)});
  all.push_back({"window, 16k", window(16384, 1000)});
  all.push_back({"zigzag, 8k", zigzag(8192)});
  all.push_back({"causal, 1 tile", causal(7)});
  return all;
}

int64_t computed_pairs(const KeyIntervals& visible) {
  int64_t pairs = 0;
  for (const KeyIntervals::Tile& tile : visible.tiles()) pairs += (tile.any_end - tile.any_begin) * kLanes;
  return pairs;
}

TEST(Division, ForwardHasEachTileOnceAndTheLongestFirst) {
  for (const Shape& shape : shapes()) {
    SCOPED_TRACE(shape.name);
    std::set<int64_t> seen;
    int64_t pairs = 0, longest = INT64_MAX;
    for (const ForwardStrip& strip : divide_forward(shape.visible, {})) {
      EXPECT_LE(strip.num_tiles, kForwardTiles);
      EXPECT_LE(strip.num_pairs, longest);
      longest = strip.num_pairs;
      pairs += strip.num_pairs;
      for (int64_t t = 0; t < strip.num_tiles; ++t) EXPECT_TRUE(seen.insert(strip.first_tile + t).second);
    }
    EXPECT_EQ(seen.size(), shape.visible.tiles().size());
    EXPECT_EQ(pairs, computed_pairs(shape.visible));
  }
}

TEST(Division, WhatSeesNothingIsNoTask) {
  const KeyIntervals blind(std::vector<IndexInterval>(500, {3, 3}), {{.start = 0, .stride = 1, .length = 900}});
  EXPECT_TRUE(divide_forward(blind, {}).empty());
  EXPECT_TRUE(divide_backward(blind, 2, {}).cells.empty());
}

const TaskSizes kVectorSizes = {};

// Tasks that hold the same thing never run at the same time (a property of OrderedTasks); so rows that two tasks write
// must be such a thing.
TEST(Division, BackwardHasEachPairOnceAndHoldsItsRows) {
  for (const Shape& shape : shapes()) {
    for (const TaskSizes& sizes : {kVectorSizes, kTileTaskSizes}) {
      SCOPED_TRACE(shape.name + ", chunks of " + std::to_string(sizes.chunk_tiles) + " tiles");
      const BackwardDivision division = divide_backward(shape.visible, 3, sizes);
      std::map<std::pair<int64_t, int64_t>, int64_t> holder_of_tile, holder_of_key;
      int64_t pairs = 0;
      for (size_t c = 0; c < division.cells.size(); ++c) {
        const BackwardCell& cell = division.cells[c];
        EXPECT_LE(cell.num_tiles, division.tiles_per_chunk);
        pairs += cell.num_pairs;
        for (int64_t t = 0; t < cell.num_tiles; ++t) {
          const auto at = holder_of_tile.try_emplace({cell.kv_head, cell.first_tile + t}, division.holds[c][0]).first;
          EXPECT_EQ(at->second, division.holds[c][0]);
        }
        for (int64_t key = cell.key_begin; key < cell.key_end; ++key) {
          const auto at = holder_of_key.try_emplace({cell.kv_head, key}, division.holds[c][1]).first;
          EXPECT_EQ(at->second, division.holds[c][1]);
        }
      }
      EXPECT_EQ(pairs, 3 * computed_pairs(shape.visible));
    }
  }
}

// Cells of a region begin where the kernel's own blocks do, and are whole blocks but at its end.
TEST(Division, OfARegionIsInWholeBlocksOfTheKernel) {
  const KeyIntervals visible = full(5000);
  for (const BackwardRegion& region :
       {BackwardRegion{0, 157, 0, 5000}, BackwardRegion{16, 33, 384, 400}, BackwardRegion{2, 140, 128, 4100}}) {
    const BackwardDivision division = divide_backward(visible, region, 2, kTileTaskSizes);
    int64_t pairs = 0;
    for (const BackwardCell& cell : division.cells) {
      const int64_t end_tile = cell.first_tile + cell.num_tiles;
      EXPECT_EQ((cell.first_tile - region.first_tile) % kTileTaskSizes.chunk_tiles, 0);
      EXPECT_EQ((cell.key_begin - region.key_begin) % kTileTaskSizes.piece_keys, 0);
      EXPECT_TRUE(end_tile == region.end_tile || cell.num_tiles % kTileTaskSizes.chunk_tiles == 0);
      EXPECT_TRUE(cell.key_end == region.key_end || (cell.key_end - cell.key_begin) % kTileTaskSizes.piece_keys == 0);
      EXPECT_LE(end_tile, region.end_tile);
      EXPECT_LE(cell.key_end, region.key_end);
      pairs += cell.num_pairs;
    }
    EXPECT_EQ(pairs, 2 * (region.end_tile - region.first_tile) * kLanes * (region.key_end - region.key_begin));
  }
}

TEST(Division, ThreadsEndTogether) {
  for (const Shape& shape : shapes()) {
    if (shape.visible.num_queries() < 4096) continue;
    for (const int64_t num_heads : {1, 2, 3}) {
      const BackwardDivision forward = as_cells(divide_forward(shape.visible, {}), num_heads);
      const BackwardDivision backward = divide_backward(shape.visible, num_heads, kVectorSizes);
      const BackwardDivision in_tiles = divide_backward(shape.visible, num_heads, kTileTaskSizes);
      for (const int num_threads : {2, 4, 8, 16}) {
        SCOPED_TRACE(shape.name + ", heads " + std::to_string(num_heads) + ", threads " + std::to_string(num_threads));
        EXPECT_GT(efficiency(forward, num_threads), 0.96);
        // A causal triangle keeps half as many threads as chunks, and chunks have 256 queries or more.
        const bool few = 2 * num_threads > num_heads * shape.visible.num_queries() / 256;
        const bool uneven = shape.name == "documents, 16k" && num_threads > 4 * num_heads;
        const double least = few ? 0.5 : uneven ? 0.75 : num_threads == 2 ? 0.99 : 0.95;
        EXPECT_GT(efficiency(backward, num_threads), least);
        EXPECT_GT(efficiency(in_tiles, num_threads), least);
      }
    }
  }
}

}  // namespace
}  // namespace longspan
