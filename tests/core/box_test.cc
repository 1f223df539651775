// Parts of tensors: which elements of the whole they are.
#include "core/tensor/box.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <span>

#include "core/base/error.h"
#include "core/tensor/tensor.h"

namespace longspan {
namespace {

// The places in the whole of the elements of a box, in the order in which it stores them, element by element.
std::vector<int64_t> places(const Box& box) {
  std::vector<int64_t> found;
  const int64_t n = box.extent.num_elements();
  for (int64_t i = 0; i < n; ++i) {
    int64_t rest = i, index = 0, stride = 1;
    for (int d = box.whole.rank() - 1; d >= 0; --d) {
      index += (box.begin[d] + rest % box.extent[d]) * stride;
      rest /= box.extent[d];
      stride *= box.whole[d];
    }
    found.push_back(index);
  }
  return found;
}

std::vector<Box> boxes() {
  std::vector<Box> all = {Box::all_of({5}), Box::slice_of({5}, 0, 2, 4), Box::slice_of({5}, 0, 3, 3)};
  for (int64_t first = 0; first < 4; ++first) {
    for (int64_t end = first; end <= 4; ++end) {
      all.push_back(Box::slice_of({4, 3}, 0, first, end));
      all.push_back(Box::slice_of({3, 4}, 1, first, end));
      all.push_back(Box::slice_of({2, 4, 3}, 1, first, end));
      all.push_back({.whole = {4, 5}, .begin = {first, 1}, .extent = {end - first, 3}});
    }
  }
  return all;
}

TEST(Box, RunsVisitEveryElementInOrder) {
  for (const Box& box : boxes()) {
    std::vector<int64_t> visited;
    for_each_run(box, [&](int64_t in_box, int64_t in_whole, int64_t count) {
      EXPECT_EQ(in_box, static_cast<int64_t>(visited.size())) << box.to_string();
      for (int64_t i = 0; i < count; ++i) visited.push_back(in_whole + i);
    });
    EXPECT_EQ(visited, places(box)) << box.to_string();
  }
}

TEST(Box, RunsAreAsLongAsTheyCanBe) {
  const auto num_runs = [](const Box& box) {
    int runs = 0;
    for_each_run(box, [&](int64_t, int64_t, int64_t) { ++runs; });
    return runs;
  };
  EXPECT_EQ(num_runs(Box::all_of({4, 3})), 1);
  EXPECT_EQ(num_runs(Box::slice_of({4, 3}, 0, 1, 3)), 1);
  EXPECT_EQ(num_runs(Box::slice_of({4, 3}, 1, 1, 3)), 4);
  EXPECT_EQ(num_runs(Box::slice_of({2, 4, 3}, 1, 1, 3)), 2);
}

TEST(Box, RangesOfItsStorageAreBoxes) {
  for (const Box& box : boxes()) {
    if (box.whole.rank() > 2) continue;
    const std::vector<int64_t> expected = places(box);
    for (int64_t first = 0; first <= box.num_elements(); ++first) {
      for (int64_t end = first; end <= box.num_elements(); ++end) {
        const std::vector<Box> parts = boxes_of_range(box, first, end);
        EXPECT_LE(parts.size(), 3u);
        std::vector<int64_t> together;
        for (const Box& part : parts) {
          for (const int64_t place : places(part)) together.push_back(place);
        }
        EXPECT_EQ(together, std::vector<int64_t>(expected.begin() + first, expected.begin() + end)) << box.to_string();
      }
    }
  }
}

TEST(Box, OverlapsAreCopied) {
  for (const Box& from : boxes()) {
    for (const Box& to : boxes()) {
      if (from.whole != to.whole) continue;
      const std::vector<int64_t> source = places(from), wanted = places(to);
      std::vector<int64_t> got(wanted.size(), -1);
      copy_overlap(from, source.data(), to, got.data(), sizeof(int64_t));
      for (size_t i = 0; i < got.size(); ++i) {
        const bool shared = std::find(source.begin(), source.end(), wanted[i]) != source.end();
        EXPECT_EQ(got[i], shared ? wanted[i] : -1) << from.to_string() << " to " << to.to_string();
      }
    }
  }
}

// Of a tensor that holds a box, those of another that lies in it: the tensor's own memory, or an error where they do not lie
// together.
TEST(Box, PartsThatLieTogetherAreSlices) {
  int64_t slices = 0, refused = 0;
  for (const Box& box : boxes()) {
    std::vector<int64_t> stored = places(box);
    const size_t bytes = stored.size() * sizeof(int64_t);
    const Tensor tensor(std::shared_ptr<void>(std::shared_ptr<void>(), stored.data()), bytes, box.extent, DType::kInt64);
    for (const Box& part : boxes()) {
      if (box.whole != part.whole || overlap(box, part) != part) continue;
      const std::vector<int64_t> want = places(part);
      const auto first = std::ranges::find(stored, want.front());
      const bool together = std::equal(want.begin(), want.end(), first, std::min(stored.end(), first + std::ssize(want)));
      EXPECT_EQ(place_in(box, part), first - stored.begin());
      if (together) {
        const Tensor found = part_of(tensor, box, part);
        EXPECT_EQ(found.shape(), part.extent);
        EXPECT_TRUE(std::ranges::equal(std::span(found.data<int64_t>(), want.size()), want)) << part.to_string();
        ++slices;
      } else {
        EXPECT_THROW(part_of(tensor, box, part), Error) << part.to_string() << " in " << box.to_string();
        ++refused;
      }
    }
  }
  EXPECT_GT(slices, 20);
  EXPECT_GT(refused, 5);
  const Tensor four(std::make_shared<std::vector<float>>(4), 16, {4}, DType::kFloat32);
  EXPECT_THROW(part_of(four, Box::slice_of({9}, 0, 2, 6), Box::slice_of({9}, 0, 5, 7)), Error) << "beyond the box";
}

TEST(Box, BeyondItsWholeIsRefused) {
  EXPECT_THROW(Box::slice_of({4, 3}, 1, 2, 4), Error);
  EXPECT_THROW(Box::slice_of({4, 3}, 0, 3, 2), Error);
  EXPECT_THROW(overlap(Box::all_of({4}), Box::all_of({5})), Error);
}

}  // namespace
}  // namespace longspan
