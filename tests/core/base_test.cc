// core/base: errors, bfloat16, random numbers, CPU levels.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "core/base/bfloat16.h"
#include "core/base/cpu_level.h"
#include "core/base/error.h"
#include "core/base/random.h"

namespace longspan {
namespace {

TEST(Error, ControlCharactersAreSpelledOut) {
  EXPECT_EQ(shown("a\n\x1b[2J\x7f"), "a\\n\\x1b[2J\\x7f");
  EXPECT_EQ(shown("abcdef", 3), "abc... (6 bytes in all)");
  EXPECT_STREQ(Error(ErrorKind::kData, "one\ntwo\x07").what(), "one\ntwo\\x07");
  EXPECT_LT(std::string(Error(ErrorKind::kData, std::string(1000000, 'x')).what()).size(), 31000u);
}

TEST(Error, CheckNamesPlaceAndValues) {
  EXPECT_NO_THROW(check(true, "never {}", 1));
  try {
    check(1 + 1 == 3, "{} is not {}", 2, 3);
    FAIL() << "the check held";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kInternal);
    EXPECT_NE(std::string(e.what()).find("base_test.cc:"), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("2 is not 3"), std::string::npos) << e.what();
  }
}

TEST(Error, KeepsItsKind) {
  try {
    raise(ErrorKind::kData, "line {}", 7);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kData);
    EXPECT_STREQ(e.what(), "line 7");
  }
  EXPECT_EQ(CommError("gone").kind(), ErrorKind::kCommunication);
}

// The definition: of the two neighbours in bfloat16 the nearer, on a tie the one with an even last bit.
uint16_t round_plainly(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto below = static_cast<uint16_t>(bits >> 16);
  const uint32_t rest = bits & 0xffffu;
  if (rest > 0x8000u || (rest == 0x8000u && (below & 1u) != 0)) return static_cast<uint16_t>(below + 1);
  return below;
}

TEST(BFloat16, RoundsToNearestEven) {
  for (const uint32_t upper :
       {0x0000u, 0x0001u, 0x3f80u, 0x3f81u, 0x7f7fu, 0x7f80u, 0x8000u, 0xbf80u, 0xff7fu, 0x007fu}) {
    for (const uint32_t lower : {0x0000u, 0x0001u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      const float value = std::bit_cast<float>(upper << 16 | lower);
      if (std::isnan(value)) continue;
      EXPECT_EQ(bfloat16(value).bits, round_plainly(value)) << std::hexfloat << value;
    }
  }
  const RandomStream random(1, "bits");
  for (uint64_t i = 0; i < 20000; ++i) {
    const float value = std::bit_cast<float>(static_cast<uint32_t>(random.bits(i)));
    if (std::isnan(value)) continue;
    ASSERT_EQ(bfloat16(value).bits, round_plainly(value)) << std::hexfloat << value;
  }
}

TEST(BFloat16, KeepsWhatIsNoNumber) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(static_cast<float>(bfloat16(infinity)), infinity);
  EXPECT_EQ(static_cast<float>(bfloat16(-infinity)), -infinity);
  EXPECT_EQ(static_cast<float>(bfloat16(std::numeric_limits<float>::max())), infinity);
  for (const uint32_t bits : {0x7f800001u, 0x7fc00000u, 0x7fffffffu, 0xff800001u, 0xffffffffu}) {
    EXPECT_TRUE(std::isnan(static_cast<float>(bfloat16(std::bit_cast<float>(bits))))) << std::hex << bits;
  }
}

TEST(BFloat16, ReadsBackWhatItHolds) {
  for (uint32_t bits = 0; bits <= 0xffffu; ++bits) {
    bfloat16 value;
    value.bits = static_cast<uint16_t>(bits);
    const auto wide = static_cast<float>(value);
    if (std::isnan(wide)) continue;
    ASSERT_EQ(bfloat16(wide).bits, bits);
  }
}

// Known answers of Random123 (kat_vectors, philox4x32 10).
TEST(Philox, GivesTheKnownAnswers) {
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(philox4x32(0, 0, 0), (Words{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}));
  EXPECT_EQ(philox4x32(~0ull, ~0ull, ~0ull), (Words{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}));
  EXPECT_EQ(philox4x32(0x299f31d0a4093822ull, 0x85a308d3243f6a88ull, 0x0370734413198a2eull),
            (Words{0xd16cfe09u, 0x94fdcceb, 0x5001e420u, 0x24126ea1u}));
}

TEST(RandomStream, HasTheMomentsOfItsDistributions) {
  constexpr uint64_t kCount = 200000;
  const RandomStream random(42, "moments");
  double mean = 0, square = 0, normal_mean = 0, normal_square = 0, normal_fourth = 0;
  for (uint64_t i = 0; i < kCount; ++i) {
    const double u = random.uniform(i), z = random.normal(i);
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    ASSERT_TRUE(std::isfinite(z));
    mean += u / kCount;
    square += u * u / kCount;
    normal_mean += z / kCount;
    normal_square += z * z / kCount;
    normal_fourth += z * z * z * z / kCount;
  }
  // five standard errors
  EXPECT_NEAR(mean, 0.5, 5 * std::sqrt(1.0 / 12 / kCount));
  EXPECT_NEAR(square, 1.0 / 3, 5 * std::sqrt(4.0 / 45 / kCount));
  EXPECT_NEAR(normal_mean, 0, 5 / std::sqrt(kCount));
  EXPECT_NEAR(normal_square, 1, 5 * std::sqrt(2.0 / kCount));
  EXPECT_NEAR(normal_fourth, 3, 5 * std::sqrt(96.0 / kCount));
}

TEST(RandomStream, IsAFunctionOfSeedNameAndIndex) {
  EXPECT_EQ(RandomStream(1, "a").bits(5), RandomStream(1, "a").bits(5));
  EXPECT_NE(RandomStream(1, "a").bits(5), RandomStream(2, "a").bits(5));
  EXPECT_NE(RandomStream(1, "a").bits(5), RandomStream(1, "b").bits(5));
  EXPECT_NE(RandomStream(1, "a").bits(5), RandomStream(1, "a").bits(6));
}

TEST(RandomStream, BelowCoversItsRange) {
  const RandomStream random(3, "below");
  std::array<int, 7> seen{};
  for (uint64_t i = 0; i < 7000; ++i) ++seen[random.below(i, 7)];
  for (const int count : seen) EXPECT_NEAR(count, 1000, 150);
  EXPECT_EQ(random.below(0, 1), 0u);
}

TEST(CpuLevel, AlwaysHasThePortableOne) {
  const auto levels = supported_cpu_levels();
  ASSERT_FALSE(levels.empty());
  EXPECT_EQ(levels.front(), CpuLevel::kPortable);
  EXPECT_TRUE(runs_here(detect_cpu_level()));
  EXPECT_TRUE(runs_here(levels.back()));
  EXPECT_EQ(name(CpuLevel::kPortable), "portable");
}

TEST(CpuLevel, RefusesWhatThisMachineDoesNotRun) {
  for (int i = 0; i <= static_cast<int>(CpuLevel::kAmx); ++i) {
    const auto level = static_cast<CpuLevel>(i);
    if (runs_here(level)) {
      EXPECT_NO_THROW(expect_runs_here(level));
    } else {
      EXPECT_THROW(expect_runs_here(level), Error);
    }
  }
}

}  // namespace
}  // namespace longspan
