#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "core/base/error.h"
#include "train/data/blend.h"
#include "train/data/document_stream.h"

namespace longspan {
namespace {

using Shuffle = DocumentStream::Shuffle;

// (document, offset) of tokens [begin, begin + count), and a check that the pieces are as long as they can
// be.
std::vector<std::pair<int64_t, int64_t>> tokens(const DocumentStream& stream, int64_t begin, int64_t count) {
  std::vector<std::pair<int64_t, int64_t>> all;
  for (const DocumentPiece& piece : stream.pieces(begin, count)) {
    EXPECT_GT(piece.length, 0);
    for (int64_t i = 0; i < piece.length; ++i) all.emplace_back(piece.document, piece.offset + i);
  }
  EXPECT_EQ(static_cast<int64_t>(all.size()), count);
  return all;
}

TEST(DocumentStream, EveryCutIsACutOfOneLine) {
  const std::vector<int64_t> lengths = {3, 1, 7, 2, 5};  // 18 tokens
  const DocumentStream stream(lengths, 100, Shuffle::kEveryEpoch, 9, "s");
  const auto line = tokens(stream, 0, 18 * 5);
  for (int64_t begin = 0; begin < 60; ++begin) {
    for (const int64_t count : {0, 1, 4, 18, 29}) {
      const DocumentStream fresh(lengths, 100, Shuffle::kEveryEpoch, 9, "s");
      const std::vector expected(line.begin() + begin, line.begin() + begin + count);
      EXPECT_EQ(tokens(fresh, begin, count), expected) << begin << " " << count;
      EXPECT_EQ(tokens(stream, begin, count), expected) << begin << " " << count;
    }
  }
}

TEST(DocumentStream, EachEpochHoldsEveryDocumentWhole) {
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < 40; ++i) lengths.push_back(1 + i % 4);
  const DocumentStream stream(lengths, 0, Shuffle::kEveryEpoch, 1, "s");
  const int64_t total = stream.num_tokens();
  std::set<std::vector<int64_t>> orders;
  for (int64_t epoch = 0; epoch < 5; ++epoch) {
    std::vector<int64_t> order;
    for (const DocumentPiece& piece : stream.pieces(epoch * total, total)) {
      EXPECT_EQ(piece.offset, 0);
      EXPECT_EQ(piece.length, lengths[static_cast<size_t>(piece.document)]);
      order.push_back(piece.document);
    }
    orders.insert(order);
    std::sort(order.begin(), order.end());
    for (int64_t i = 0; i < 40; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
  }
  EXPECT_EQ(orders.size(), 5u) << "two epochs have the same order";
  const auto first = tokens(stream, 0, total);
  EXPECT_NE(tokens(DocumentStream(lengths, 0, Shuffle::kEveryEpoch, 2, "s"), 0, total), first);
  EXPECT_NE(tokens(DocumentStream(lengths, 0, Shuffle::kEveryEpoch, 1, "t"), 0, total), first);
  const auto listed = tokens(DocumentStream(lengths, 0, Shuffle::kNo, 1, "s"), total, total);
  EXPECT_TRUE(std::is_sorted(listed.begin(), listed.end()));
}

TEST(DocumentStream, ShuffleIsFair) {
  // How often each of 4 documents comes first in 4000 epochs: 1000, give or take 5 standard deviations.
  const DocumentStream stream({1, 1, 1, 1}, 0, Shuffle::kEveryEpoch, 3, "s");
  std::vector<int> first(4, 0);
  for (int64_t epoch = 0; epoch < 4000; ++epoch)
    ++first[static_cast<size_t>(stream.pieces(4 * epoch, 1)[0].document)];
  for (const int count : first) EXPECT_NEAR(count, 1000, 137);
}

TEST(DocumentStream, CountsBeyond32Bits) {
  const int64_t big = (int64_t{1} << 33) + 5;
  const DocumentStream stream({big, big, 3}, 0, Shuffle::kNo, 0, "s");
  EXPECT_EQ(stream.num_tokens(), 2 * big + 3);
  const auto pieces = stream.pieces(7 * stream.num_tokens() + big - 2, 4);
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_EQ(pieces[0].offset, big - 2);
  EXPECT_EQ(pieces[0].length, 2);
  EXPECT_EQ(pieces[1].document, 1);
  EXPECT_EQ(pieces[1].offset, 0);
  EXPECT_THROW(stream.pieces(std::numeric_limits<int64_t>::max(), 1), Error);
  EXPECT_THROW(DocumentStream({std::numeric_limits<int64_t>::max(), 1}, 0, Shuffle::kNo, 0, "s"), Error);
}

TEST(Blend, CountsFollowTheWeightsAtEveryMoment) {
  const std::vector<double> weights = {5, 1, 3, 0.5};
  const Blend blend(weights);
  std::vector<int64_t> counts(4, 0);
  for (int64_t n = 0; n < 10'000; ++n) {
    const Blend::Choice choice = blend.choose(n);
    ASSERT_EQ(choice.number, counts[choice.source]) << n;
    ++counts[choice.source];
    for (size_t j = 0; j < 4; ++j) {
      ASSERT_LT(std::abs(static_cast<double>(counts[j]) - weights[j] / 9.5 * static_cast<double>(n + 1)), 2.0)
          << n;
    }
  }
}

TEST(Blend, TiesGoToTheFirst) {
  const Blend blend({1, 1});
  for (int64_t n = 0; n < 10; ++n) EXPECT_EQ(blend.choose(n).source, static_cast<size_t>(n % 2));
}

TEST(Blend, AnyPlaceIsTheSameAsInOrder) {
  const std::vector<double> weights = {0.7, 0.2, 0.1};
  const Blend far(weights);
  const Blend::Choice late = far.choose(1'000'000);
  const Blend::Choice early = far.choose(5'000);
  const Blend in_order(weights);
  for (int64_t n = 0; n < 1'000'000; n += 4093) in_order.choose(n);
  EXPECT_EQ(in_order.choose(1'000'000).number, late.number);
  EXPECT_EQ(in_order.choose(1'000'000).source, late.source);
  const Blend fresh(weights);
  EXPECT_EQ(fresh.choose(5'000).number, early.number);
  EXPECT_EQ(Blend({2}).choose(int64_t{1} << 60).number, int64_t{1} << 60);
  EXPECT_THROW(Blend({1, 0}), Error);
}

}  // namespace
}  // namespace longspan
