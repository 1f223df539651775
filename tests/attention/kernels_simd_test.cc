// The exponential of simd.h at every level this machine runs.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/base/cpu_level.h"
#include "tests/attention/kernels_simd_probe.h"

namespace longspan {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> exp2_of(CpuLevel level, std::vector<float> x) {
  const size_t n = x.size();
  x.resize((n + 15) / 16 * 16);
  std::vector<float> y(x.size());
  const auto count = static_cast<int64_t>(x.size());
#if defined(__x86_64__)
  if (vector_level(level) == CpuLevel::kAvx512) avx512::probe_exp2(x.data(), count, y.data());
  if (level == CpuLevel::kAvx2) avx2::probe_exp2(x.data(), count, y.data());
#endif
  if (level == CpuLevel::kPortable) portable::probe_exp2(x.data(), count, y.data());
  y.resize(n);
  return y;
}

float sum_of(CpuLevel level, const float* x) {
#if defined(__x86_64__)
  if (vector_level(level) == CpuLevel::kAvx512) return avx512::probe_sum(x);
  if (level == CpuLevel::kAvx2) return avx2::probe_sum(x);
#endif
  return portable::probe_sum(x);
}

class SimdTest : public testing::TestWithParam<CpuLevel> {};

TEST_P(SimdTest, Exp2IsAccurate) {
  std::vector<float> x;
  for (float at = -126; at <= 127; at += 0.0013f) x.push_back(at);
  const auto y = exp2_of(GetParam(), x);
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double exact = std::exp2(static_cast<double>(x[i]));
    worst = std::max(worst, std::abs(static_cast<double>(y[i]) - exact) / exact);
  }
  EXPECT_LT(worst, 2e-7);
}

TEST_P(SimdTest, Exp2AtTheEdges) {
  const auto y = exp2_of(GetParam(), {0, -0.0f, 1, -1, 10, -kInfinity, -1e30f, -127, -126, NAN, 127});
  EXPECT_EQ(y[0], 1);  // a query that sees nothing relies on it
  EXPECT_EQ(y[1], 1);
  EXPECT_EQ(y[2], 2);
  EXPECT_EQ(y[3], 0.5f);
  EXPECT_EQ(y[4], 1024);
  EXPECT_EQ(y[5], 0);
  EXPECT_EQ(y[6], 0);
  EXPECT_EQ(y[7], 0);
  EXPECT_EQ(y[8], 0x1p-126f);
  EXPECT_TRUE(std::isnan(y[9]));
  EXPECT_EQ(y[10], 0x1p127f);
}

TEST_P(SimdTest, HorizontalSum) {
  std::vector<float> x;
  for (int i = 0; i < 16; ++i) x.push_back(static_cast<float>(1 << i));
  const float sum = sum_of(GetParam(), x.data());
  const int width = GetParam() == CpuLevel::kPortable ? 4 : GetParam() == CpuLevel::kAvx2 ? 8 : 16;
  EXPECT_EQ(sum, static_cast<float>((1 << width) - 1));
}

INSTANTIATE_TEST_SUITE_P(Levels, SimdTest, testing::ValuesIn(supported_cpu_levels()),
                         [](const auto& i) { return std::string(name(i.param)); });

}  // namespace
}  // namespace longspan
