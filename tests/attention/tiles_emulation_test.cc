// The emulated tile unit against a scalar definition of each instruction, written from the manual's.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "core/base/bfloat16.h"
#include "core/base/random.h"
#include "tests/support/emulated_attention.h"
#include "tests/support/emulated_tiles.h"

namespace longspan::test {
namespace {

#if defined(__x86_64__)

class TilesTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_emulated_tiles()) GTEST_SKIP() << "the emulation needs AVX-512, which this machine has not";
  }
  void TearDown() override {
    if (has_emulated_tiles()) emulate_release();
  }
};

struct Shape {
  int rows, row_bytes;
};
void configure(const std::vector<Shape>& shapes) {
  EmulatedShapes s = {};
  s.palette = 1;
  for (size_t i = 0; i < shapes.size(); ++i) {
    s.rows[i] = static_cast<uint8_t>(shapes[i].rows);
    s.row_bytes[i] = static_cast<uint16_t>(shapes[i].row_bytes);
  }
  emulate_configure(&s);
}

float flushed(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x; }
float multiply_add(float a, float b, float c) { return flushed(std::fmaf(flushed(a), flushed(b), flushed(c))); }

// c += a b as the manual has it: c [m][n], a [m][2 k], b [k][2 n].
void define_product(int m, int n, int k, const bfloat16* a, const bfloat16* b, float* c) {
  for (int row = 0; row < m; ++row) {
    for (int column = 0; column < n; ++column) {
      float even = 0, odd = 0;
      for (int i = 0; i < k; ++i) {
        const bfloat16 *x = a + row * 2 * k + 2 * i, *y = b + i * 2 * n + 2 * column;
        even = multiply_add(static_cast<float>(x[0]), static_cast<float>(y[0]), even);
        odd = multiply_add(static_cast<float>(x[1]), static_cast<float>(y[1]), odd);
      }
      float& sum = c[row * n + column];
      sum = flushed(flushed(sum) + flushed(even + odd));
    }
  }
}

// Numbers of all sizes, some of them so small that products and sums are denormal.
std::vector<bfloat16> numbers(size_t n, uint64_t seed, bool tiny) {
  const RandomStream random(seed, "tile");
  std::vector<bfloat16> x;
  for (size_t i = 0; i < n; ++i) {
    const auto exponent = static_cast<int>(random.below(2 * i, 24)) - (tiny ? 140 : 12);
    x.push_back(bfloat16(std::ldexp(static_cast<float>(random.normal(2 * i + 1)), exponent)));
  }
  return x;
}

TEST_F(TilesTest, ProductIsTheManuals) {
  uint64_t seed = 0;
  for (const auto& [m, n, k] : {std::tuple{16, 16, 16}, {1, 1, 1}, {16, 16, 1}, {5, 16, 16}, {16, 3, 7}, {7, 11, 13}}) {
    for (const bool tiny : {false, true}) {
      configure({{m, 4 * n}, {m, 4 * k}, {k, 4 * n}});
      const auto a = numbers(static_cast<size_t>(2 * m * k), ++seed, tiny);
      const auto b = numbers(static_cast<size_t>(2 * k * n), ++seed, false);
      std::vector<float> want(static_cast<size_t>(m * n));
      for (size_t i = 0; i < want.size(); ++i) want[i] = static_cast<float>(i) * (tiny ? 1e-39f : 0.3f);
      std::vector<float> got = want;
      emulate_load(0, got.data(), 4 * n, false);
      emulate_load(1, a.data(), 4 * k, true);
      emulate_load(2, b.data(), 4 * n, false);
      for (int repeat = 0; repeat < 2; ++repeat) {
        emulate_multiply(0, 1, 2);
        define_product(m, n, k, a.data(), b.data(), want.data());
      }
      emulate_store(0, got.data(), 4 * n);
      EXPECT_EQ(std::memcmp(got.data(), want.data(), want.size() * 4), 0) << m << " " << n << " " << k << " " << tiny;
    }
  }
}

TEST_F(TilesTest, InfinityAndNotANumber) {
  configure({{1, 4}, {1, 4}, {1, 4}});
  const auto product = [](float x, float y) {
    const bfloat16 a[2] = {bfloat16(x), bfloat16(1.0f)}, b[2] = {bfloat16(y), bfloat16(1.0f)};
    float c = 0;
    emulate_zero(0);
    emulate_load(1, a, 4, false);
    emulate_load(2, b, 4, false);
    emulate_multiply(0, 1, 2);
    emulate_store(0, &c, 4);
    return c;
  };
  EXPECT_EQ(product(2, 3), 7);
  EXPECT_EQ(product(INFINITY, 1), INFINITY);
  EXPECT_EQ(product(-INFINITY, 1), -INFINITY);
  EXPECT_TRUE(std::isnan(product(INFINITY, 0)));
  EXPECT_TRUE(std::isnan(product(NAN, 0)));
}

TEST_F(TilesTest, LoadsAndStoresRowsAStrideApart) {
  configure({{3, 8}});
  std::vector<uint8_t> from(3 * 20), to(3 * 12, 0xff);
  for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<uint8_t>(i);
  emulate_load(0, from.data(), 20, false);
  emulate_store(0, to.data(), 12);
  for (size_t r = 0; r < 3; ++r) {
    for (size_t i = 0; i < 12; ++i) EXPECT_EQ(to[r * 12 + i], i < 8 ? r * 20 + i : 0xff);
  }
  emulate_zero(0);
  emulate_store(0, to.data(), 12);
  EXPECT_EQ(to[0], 0);
  EXPECT_EQ(to[8], 0xff);
}

TEST_F(TilesTest, RefusesWhatAProcessorRefusesAndEmptyTiles) {
  float memory[16 * 16] = {};
  EXPECT_THROW(emulate_zero(0), std::logic_error);  // not configured
  EXPECT_THROW(configure({{17, 64}}), std::logic_error);
  EXPECT_THROW(configure({{16, 68}}), std::logic_error);
  configure({{16, 64}, {16, 64}, {16, 64}, {8, 64}});
  EXPECT_THROW(emulate_store(0, memory, 64), std::logic_error);  // nothing in it
  emulate_zero(0);
  emulate_zero(1);
  EXPECT_THROW(emulate_multiply(0, 1, 2), std::logic_error);  // nothing in 2
  emulate_zero(2);
  EXPECT_NO_THROW(emulate_multiply(0, 1, 2));
  EXPECT_THROW(emulate_multiply(0, 1, 1), std::logic_error);
  emulate_zero(3);
  EXPECT_THROW(emulate_multiply(3, 1, 2), std::logic_error);  // 8 rows from 16
  EXPECT_THROW(emulate_zero(8), std::logic_error);
  configure({{16, 64}});
  EXPECT_THROW(emulate_store(0, memory, 64), std::logic_error);  // configuring empties them
  emulate_release();
  EXPECT_THROW(emulate_load(0, memory, 64, false), std::logic_error);
}

TEST_F(TilesTest, CountsInstructions) {
  configure({{16, 64}, {16, 64}, {16, 64}});
  tile_counts() = {};
  float memory[16 * 16] = {};
  emulate_zero(0);
  emulate_load(1, memory, 64, true);
  emulate_load(2, memory, 64, false);
  emulate_multiply(0, 1, 2);
  emulate_multiply(0, 1, 2);
  emulate_store(0, memory, 64);
  EXPECT_EQ(tile_counts().multiplications, 2);
  EXPECT_EQ(tile_counts().loads, 1);
  EXPECT_EQ(tile_counts().stream_loads, 1);
  EXPECT_EQ(tile_counts().stores, 1);
  EXPECT_EQ(tile_counts().zeros, 1);
}

#endif

}  // namespace
}  // namespace longspan::test
