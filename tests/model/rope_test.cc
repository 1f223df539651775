// Rotary frequencies against the formulas' known values, and angles at positions in the millions.
#include "model/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "tests/support/reference_context.h"

namespace longspan {
namespace {

RopeSpec spec_of(RopeScalingType type, double factor, int64_t original, double theta = 10000) {
  RopeSpec spec;
  spec.scaling = type;
  spec.factor = factor;
  spec.original_max_positions = original;
  spec.theta = theta;
  return spec;
}

TEST(Rope, PlainFrequencies) {
  const auto f = inverse_frequencies({}, 8);
  ASSERT_EQ(f.size(), 4u);
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(f[i], std::pow(10.0, -static_cast<double>(i)), 1e-15);
}

TEST(Rope, FactorOneChangesNothing) {
  const auto plain = inverse_frequencies({}, 64);
  for (const auto type : {RopeScalingType::kLinear, RopeScalingType::kNtk, RopeScalingType::kYarn, RopeScalingType::kLlama3}) {
    const auto scaled = inverse_frequencies(spec_of(type, 1, 4096), 64);
    for (size_t i = 0; i < plain.size(); ++i) EXPECT_NEAR(scaled[i], plain[i], 1e-15 * plain[i]);
    EXPECT_EQ(attention_factor(spec_of(type, 1, 4096)), 1);
  }
}

TEST(Rope, LinearDividesAll) {
  const auto plain = inverse_frequencies({}, 16), scaled = inverse_frequencies(spec_of(RopeScalingType::kLinear, 8, 4096), 16);
  for (size_t i = 0; i < plain.size(); ++i) EXPECT_DOUBLE_EQ(scaled[i], plain[i] / 8);
}

TEST(Rope, NtkKeepsTheFastestAndDividesTheSlowest) {
  const auto plain = inverse_frequencies({}, 128), scaled = inverse_frequencies(spec_of(RopeScalingType::kNtk, 8, 4096), 128);
  EXPECT_DOUBLE_EQ(scaled.front(), plain.front());
  EXPECT_NEAR(scaled.back(), plain.back() / 8, 1e-12 * plain.back());
}

TEST(Rope, Llama3KeepsShortWavesAndDividesLongOnes) {
  const RopeSpec spec = spec_of(RopeScalingType::kLlama3, 8, 8192, 500000);  // Llama 3.1: factors 1 and 4
  RopeSpec unscaled;
  unscaled.theta = 500000;
  const auto plain = inverse_frequencies(unscaled, 128), scaled = inverse_frequencies(spec, 128);
  for (size_t i = 0; i < plain.size(); ++i) {
    const double wavelength = 2 * std::numbers::pi / plain[i];
    if (wavelength < 8192.0 / 4) {
      EXPECT_EQ(scaled[i], plain[i]);
    } else if (wavelength > 8192.0) {
      EXPECT_EQ(scaled[i], plain[i] / 8);
    } else {
      EXPECT_LT(scaled[i], plain[i]);
      EXPECT_GT(scaled[i], plain[i] / 8);
    }
  }
}

TEST(Rope, YarnRampsBetweenTheCorrectionPairs) {
  // Head 128, base 10000, original 4096: the released code's range of pairs is [20, 46].
  const RopeSpec spec = spec_of(RopeScalingType::kYarn, 16, 4096);
  const auto plain = inverse_frequencies({}, 128), scaled = inverse_frequencies(spec, 128);
  for (size_t i = 0; i < 64; ++i) {
    const double ramp = std::min(1.0, std::max(0.0, (static_cast<double>(i) - 20) / 26));
    EXPECT_NEAR(scaled[i], plain[i] * (1 - ramp) + plain[i] / 16 * ramp, 1e-15) << i;
  }
  EXPECT_DOUBLE_EQ(attention_factor(spec), 0.1 * std::log(16.0) + 1);
}

TEST(Rope, AnglesAreExactAtPositionsInTheMillions) {
  const Context context = test::make_context(DType::kFloat64);
  const int64_t position = 10'000'019;
  const RotaryTable table = make_rotary_table(context, {}, 128, std::vector<int64_t>{0, position});
  for (int64_t i = 0; i < 64; ++i) {
    const long double frequency = std::pow(10000.0L, -static_cast<long double>(2 * i) / 128.0L);
    const long double angle = frequency * static_cast<long double>(position);
    const auto cosine = table.cosine.view<double, 2>(), sine = table.sine.view<double, 2>();
    EXPECT_EQ(cosine(0, i), 1);
    EXPECT_EQ(sine(0, i), 0);
    EXPECT_NEAR(cosine(1, i), static_cast<double>(std::cos(angle)), 1e-8);
    EXPECT_NEAR(sine(1, i), static_cast<double>(std::sin(angle)), 1e-8);
  }
}

}  // namespace
}  // namespace longspan
