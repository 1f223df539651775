// Every scheme in double precision on 2 to 8 ranks against one rank, and once on 16: outputs and all gradients. Planted faults.
#include <gtest/gtest.h>

#include "tests/attention/sequence_case.h"
#include "tests/core/expect_error.h"

namespace longspan {
namespace {

using test::attend;
using test::SequenceCase;
using test::SequenceResult;
using Options = ContextSchemeOptions;

constexpr double kTolerance = 1e-12;
constexpr LayoutType kLayouts[] = {LayoutType::kContiguous, LayoutType::kZigzag, LayoutType::kStriped};

std::string text_of(const Options& options) {
  return fmt::format("{} of {}, {} heads at once", name(options.scheme), options.inner, options.kv_heads_at_once);
}

// Every scheme that these heads and ranks allow, in each of its variants.
std::vector<Options> schemes_for(const SequenceCase& c, int num_ranks) {
  std::vector<Options> all = {{.scheme = ContextScheme::kRing, .scale = 0.3}};
  if (num_ranks <= c.num_heads) all.push_back({.scheme = ContextScheme::kAllToAll, .scale = 0.3});
  for (const int64_t at_once : {int64_t{1}, int64_t{2}, c.num_kv_heads}) {
    all.push_back({.scheme = ContextScheme::kAllGather, .kv_heads_at_once = at_once, .scale = 0.3});
  }
  for (int inner = 1; inner <= num_ranks; ++inner) {
    if (num_ranks % inner != 0) continue;
    all.push_back({.scheme = ContextScheme::kDoubleRing, .inner = inner, .scale = 0.3});
    if (inner <= c.num_heads) all.push_back({.scheme = ContextScheme::kHybrid, .inner = inner, .scale = 0.3});
  }
  return all;
}

void expect_same(const SequenceCase& c, uint64_t seed, const SequenceResult& one, int num_ranks) {
  SequenceResult ring;
  for (const Options& options : schemes_for(c, num_ranks)) {
    SCOPED_TRACE(fmt::format("{} over {} ranks, {}", text_of(options), num_ranks, c.to_string()));
    const SequenceResult many = attend(c, num_ranks, seed, {.options = options});
    if (options.scheme == ContextScheme::kRing) ring = many;
    EXPECT_LT(test::relative_error(many, one), kTolerance);
    EXPECT_LT(test::relative_error(many, ring), kTolerance);
  }
}

class SchemesTest : public testing::TestWithParam<LayoutType> {
 protected:
  void expect_all_same(const SequenceCase& c, uint64_t seed) const {
    const SequenceResult one = attend(c, 1, seed);
    for (int num_ranks = 2; num_ranks <= 8; ++num_ranks) expect_same(c, seed, one, num_ranks);
  }
};

TEST_P(SchemesTest, EqualOneRank) {
  expect_all_same({GetParam(), Masking::kCausal, 61, 1, 1, 8, 2, 3}, 1);  // keys replicated from 3 ranks on
  expect_all_same({GetParam(), Masking::kCausal, 48, 1, 7, 6, 3, 4}, 2);  // documents; heads that 4 and 5 do not divide
  expect_all_same({GetParam(), Masking::kFull, 37, 1, 3, 8, 8, 2}, 3);    // a key head for each
  expect_all_same({GetParam(), Masking::kCausal, 23, 3, 4, 12, 1, 2}, 4); // one for all; a batch of packed sequences
}

TEST_P(SchemesTest, EqualOneRankWhereSomeHaveNoTokens) {
  for (const int64_t length : {1, 2, 5, 7}) {
    expect_all_same({GetParam(), Masking::kCausal, length, 1, 2, 8, 4, 2}, static_cast<uint64_t>(10 + length));
  }
}

// A layout by area is a list of ranges like any other.
TEST(Schemes, EqualOneRankInALayoutByArea) {
  const SequenceCase c = {LayoutType::kZigzag, Masking::kCausal, 83, 1, 6, 8, 2, 2, 5};
  const SequenceResult one = attend(c, 1, 25);
  for (const int num_ranks : {2, 4, 8}) expect_same(c, 25, one, num_ranks);
}

TEST_P(SchemesTest, EqualOneRankOnSixteen) {
  const SequenceCase c = {GetParam(), Masking::kCausal, 131, 1, 5, 16, 4, 2};
  expect_same(c, 20, attend(c, 1, 20), 16);
}

INSTANTIATE_TEST_SUITE_P(Layouts, SchemesTest, testing::ValuesIn(kLayouts),
                         [](const auto& i) { return std::string(name(i.param)); });

// Heads dealt out so that a rank has parts of several groups of query heads, which no equal share makes.
TEST(Schemes, HeadsMayBeDealtOutUnevenly) {
  for (const auto& [num_heads, num_kv_heads] : {std::pair{12, 3}, {15, 3}, {10, 2}, {7, 7}, {9, 3}, {20, 4}}) {
    const SequenceCase c = {LayoutType::kZigzag, Masking::kCausal, 19, 1, 2, num_heads, num_kv_heads, 2};
    const SequenceResult one = attend(c, 1, 30);
    for (int num_ranks = 2; num_ranks <= 7; ++num_ranks) {
      SCOPED_TRACE(fmt::format("{} ranks, {}", num_ranks, c.to_string()));
      EXPECT_LT(test::relative_error(
                    attend(c, num_ranks, 30, {.options = {.scheme = ContextScheme::kAllToAll, .scale = 0.3}}), one),
                kTolerance);
    }
  }
}

// The vectorised kernels, against one rank in double precision on the same inputs, as for the ring.
TEST(Schemes, EqualOneRankInDoublePrecision) {
  const SequenceCase c = {LayoutType::kZigzag, Masking::kCausal, 131, 1, 5, 8, 2, 32};
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    const SequenceResult want = attend(c, 1, 40, {.arithmetic = {.drawn = dtype}});
    for (const Options& options : schemes_for(c, 4)) {
      SCOPED_TRACE(fmt::format("{} {}", name(dtype), text_of(options)));
      const SequenceResult got = attend(c, 4, 40, {.options = options, .arithmetic = {.dtype = dtype, .drawn = dtype}});
      EXPECT_LT(test::relative_error(got, want), dtype == DType::kFloat32 ? 3e-6 : 5e-3);
    }
  }
}

TEST(Schemes, RepeatToTheBit) {
  const SequenceCase c = {LayoutType::kStriped, Masking::kCausal, 61, 1, 3, 6, 2, 4};
  for (const Options& options : schemes_for(c, 4)) {
    const SequenceResult a = attend(c, 4, 50, {.options = options}), b = attend(c, 4, 50, {.options = options});
    EXPECT_TRUE(a.output == b.output && a.dq == b.dq && a.dk == b.dk && a.dv == b.dv) << text_of(options);
  }
}

TEST(Schemes, RefuseWhatCannotBeWithTheNearestThatCan) {
  const SequenceCase c = {LayoutType::kZigzag, Masking::kCausal, 40, 1, 1, 4, 2, 2};
  test::expect_error(ErrorKind::kConfiguration, {"6 ranks", "4 heads", "nearest", "is 4"},
                     [&] { attend(c, 6, 1, {.options = {.scheme = ContextScheme::kAllToAll}}); });
  for (const auto scheme : {ContextScheme::kHybrid, ContextScheme::kDoubleRing}) {
    test::expect_error(ErrorKind::kConfiguration, {"6 ranks", "groups of 4", "divides them is 3"},
                       [&] { attend(c, 6, 1, {.options = {.scheme = scheme, .inner = 4}}); });
  }
}

// One fault at one message of one rank: what comes out is wrong, or an error.
bool is_noticed(const SequenceCase& c, const Options& options, const CommFaults& faults, const SequenceResult& one) {
  const auto decorate = [&](Communicator& world) -> std::unique_ptr<Communicator> {
    return make_faulty_communicator(world, world.rank() == 1 ? faults : CommFaults{});
  };
  try {
    return !(test::relative_error(attend(c, 4, 60, {.options = options, .decorate = decorate}), one) < kTolerance);
  } catch (const CommError&) {
    return true;
  }
}

TEST(Schemes, FaultsAreNoticedWhereverTheyStrike) {
  // Without a mask every element of what is moved matters.
  const SequenceCase c = {LayoutType::kZigzag, Masking::kFull, 64, 1, 1, 8, 2, 4};
  const SequenceResult one = attend(c, 1, 60);
  for (const Options& options : schemes_for(c, 4)) {
    ASSERT_FALSE(is_noticed(c, options, {}, one)) << "nothing is wrong yet";
    for (const int message : {0, 1, 3, 6, 9, 11}) {  // of each scheme's, the fewest of which are 12
      SCOPED_TRACE(fmt::format("{}, message {}", text_of(options), message));
      EXPECT_TRUE(is_noticed(c, options, {.corrupt_byte_of = message}, one));
      EXPECT_TRUE(is_noticed(c, options, {.deliver_stale_of = message}, one));
      EXPECT_TRUE(is_noticed(c, options, {.keep_own_of = message}, one));
      EXPECT_TRUE(is_noticed(c, options, {.fail_at = message}, one));
      if (message == 0) {  // which is posted together with the next in every scheme
        EXPECT_TRUE(is_noticed(c, options, {.swap_with_next_of = message}, one));
      }
    }
  }
}

}  // namespace
}  // namespace longspan
