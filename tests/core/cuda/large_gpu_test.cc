// Kernels on a GPU at more than 2^31 elements: what lies beyond is found, computed and put where it belongs. Memory is zeros but
// for some numbers on both sides of 2^31 and at the end, which is where an index of 32 bits would miss them.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <vector>

#include "attention/kernels/cuda/kernels.h"
#include "core/base/bfloat16.h"
#include "core/kernels/cuda/kernels.h"
#include "core/kernels/cuda/ptx/success.h"

namespace longspan::test {
namespace {

using cuda::expect_success;

constexpr int64_t kBeyond = int64_t{1} << 31, kColumns = 4096, kRows = kBeyond / kColumns + 3, kCount = kRows * kColumns;
constexpr size_t kNeededBytes = size_t{10} << 30;
constexpr auto kBF16 = DType::kBFloat16;

template <class T>
class Large {
 public:
  explicit Large(int64_t n) {
    void* memory = nullptr;
    expect_success(cudaMalloc(&memory, static_cast<size_t>(n) * sizeof(T)), "memory of a test");
    data_ = static_cast<T*>(memory);
    expect_success(cudaMemset(data_, 0, static_cast<size_t>(n) * sizeof(T)), "memory of a test");
  }
  explicit Large(const std::vector<T>& values) : Large(static_cast<int64_t>(values.size())) {
    for (size_t i = 0; i < values.size(); ++i) set(static_cast<int64_t>(i), values[i]);
  }
  ~Large() { cudaFree(data_); }
  Large(const Large&) = delete;
  Large& operator=(const Large&) = delete;

  T* data() const { return data_; }
  void set(int64_t i, T value) { expect_success(cudaMemcpy(data_ + i, &value, sizeof(T), cudaMemcpyHostToDevice), "a number"); }
  T at(int64_t i) const {
    T value;
    expect_success(cudaMemcpy(&value, data_ + i, sizeof(T), cudaMemcpyDeviceToHost), "a number");
    return value;
  }
  float number(int64_t i) const { return static_cast<float>(at(i)); }

 private:
  T* data_ = nullptr;
};
using Large16 = Large<bfloat16>;

// Places of numbers, and what stands there: 1, 2, 3, ...
const std::vector<int64_t> kPlaces = {5, kBeyond - 1, kBeyond, kBeyond + 7, kCount - 1};
void set_places(Large16& x) {
  for (size_t i = 0; i < kPlaces.size(); ++i) x.set(kPlaces[i], bfloat16(static_cast<float>(i + 1)));
}

class LargeTensors : public testing::Test {
  void SetUp() override {
    size_t free = 0, total = 0;
    expect_success(cudaMemGetInfo(&free, &total), "the memory of this GPU");
    if (free < kNeededBytes) GTEST_SKIP() << "this GPU has " << free << " bytes free; these tests need " << kNeededBytes;
  }
};

TEST_F(LargeTensors, Elementwise) {
  Large16 x(kCount), y(kCount);
  set_places(x);
  cuda::launch_add({}, kBF16, kCount, x.data(), x.data(), y.data());
  for (size_t i = 0; i < kPlaces.size(); ++i) EXPECT_EQ(y.number(kPlaces[i]), 2 * static_cast<float>(i + 1)) << kPlaces[i];
  EXPECT_EQ(y.number(kBeyond + 8), 0);
  cuda::launch_swiglu_forward({}, kBF16, kCount, x.data(), x.data(), y.data());
  for (size_t i = 0; i < kPlaces.size(); ++i) {
    const double z = static_cast<double>(i + 1);
    EXPECT_NEAR(y.number(kPlaces[i]), z * z / (1 + std::exp(-z)), 0.01 * z * z) << kPlaces[i];
  }
  Large<double> parts(cuda::sum_of_squares_parts(kCount));
  cuda::launch_sum_of_squares({}, kBF16, kCount, x.data(), parts.data());
  double sum = 0;
  for (int64_t i = 0; i < cuda::sum_of_squares_parts(kCount); ++i) sum += parts.at(i);
  EXPECT_EQ(sum, 1 + 4 + 9 + 16 + 25);
}

TEST_F(LargeTensors, Rows) {
  Large16 x(kCount), y(kCount);
  set_places(x);
  const Large16 weight(std::vector<bfloat16>(kColumns, bfloat16(1.0f)));
  const Large<float> inverse(kRows), cosine(kRows * 64), sine(kRows * 64);
  cuda::launch_rms_norm_forward({}, kBF16,
                                {kRows, kColumns, 1.0f, x.data(), nullptr, weight.data(), nullptr, y.data(), inverse.data()});
  const double last = 5 / std::sqrt(25.0 / kColumns + 1);
  EXPECT_NEAR(y.number(kCount - 1), last, 0.01 * last);
  // Cosines and sines are zeros but of the last token: a quarter turn.
  Large<float> turned(kRows * 64);
  for (int i = 0; i < 64; ++i) turned.set((kRows - 1) * 64 + i, 1.0f);
  cuda::launch_rotate({}, kBF16, {kRows, kColumns / 128, 128, kColumns, 128, cosine.data(), turned.data(), 1.0f, x.data()});
  EXPECT_EQ(x.number(kCount - 1 - 64), -5);
  EXPECT_EQ(x.number(kCount - 1), 0);
}

TEST_F(LargeTensors, Embedding) {
  Large16 table(kCount);
  const int32_t last_row = static_cast<int32_t>(kRows - 1);
  table.set(kCount - 1, bfloat16(7.0f));
  const Large<int32_t> tokens(std::vector<int32_t>{last_row, 0});
  Large16 y(2 * kColumns);
  cuda::launch_gather({}, kBF16, {2, kRows, 0, kRows, kColumns}, tokens.data(), table.data(), y.data());
  EXPECT_EQ(y.number(kColumns - 1), 7);
  EXPECT_EQ(y.number(2 * kColumns - 1), 0);
}

TEST_F(LargeTensors, EmbeddingGradient) {
  const int32_t last_row = static_cast<int32_t>(kRows - 1);
  const Large<int32_t> tokens(std::vector<int32_t>{last_row, 0});
  Large16 dy(2 * kColumns);
  dy.set(kColumns - 1, bfloat16(7.0f));
  const Large<float> dtable(kCount);
  cuda::launch_scatter_add({}, kBF16, {2, kRows, 0, kRows, kColumns}, tokens.data(), dy.data(), dtable.data());
  EXPECT_EQ(dtable.at(kCount - 1), 7);
  EXPECT_EQ(dtable.at(kColumns - 1), 0);
}

// Gradients of bfloat16 over their logits.
TEST_F(LargeTensors, Loss) {
  const Large<float> logits(kCount), losses(kRows);
  const Large<int32_t> targets(kRows);
  cuda::launch_cross_entropy({}, kBF16,
                             {kRows, kColumns, logits.data(), targets.data(), 1.0f, losses.data(), logits.data(), 2 * kColumns});
  EXPECT_NEAR(losses.at(kRows - 1), std::log(static_cast<double>(kColumns)), 1e-4);
  const auto* const gradients = reinterpret_cast<const bfloat16*>(logits.data()) + (kRows - 1) * 2 * kColumns;
  bfloat16 pair[2];
  expect_success(cudaMemcpy(pair, gradients, sizeof(pair), cudaMemcpyDeviceToHost), "gradients");
  EXPECT_NEAR(static_cast<float>(pair[0]), 1.0 / kColumns - 1, 0.01);
  EXPECT_EQ(static_cast<float>(pair[1]), 1.0f / kColumns);
}

// 32 queries see the last 64 keys, whose rows are beyond 2^31: with scores of 0 the output is the mean of the values.
TEST_F(LargeTensors, Attention) {
  constexpr int kDim = 128, kQueries = 32, kSeen = 64, kHead = 31;
  constexpr int32_t kKeys = static_cast<int32_t>(kRows);
  Large16 keys(kCount);  // and values
  const Large16 q(kQueries * kColumns);
  for (int key = kKeys - kSeen; key < kKeys; ++key) keys.set(int64_t{key} * kColumns + kHead * kDim + 3, bfloat16(2.0f));
  const Large<float> output(kQueries * kColumns), lse(std::vector<float>(32 * kQueries, -INFINITY));
  const Large<int32_t> begin(std::vector<int32_t>(kQueries, kKeys - kSeen)), end(std::vector<int32_t>(kQueries, kKeys));
  const Large<cuda::TileInterval> tile({{kKeys - kSeen, kKeys, kKeys - kSeen, kKeys}});
  const cuda::Strided large = {keys.data(), kColumns, kDim};
  cuda::launch_matrix_forward({}, {{kQueries, kKeys, 32, 32, kDim, 1.0f}, {begin.data(), end.data(), tile.data(), nullptr},
                                   {q.data(), kColumns, kDim}, large, large, output.data(), lse.data()});
  EXPECT_NEAR(output.at(kHead * kDim + 3), 2, 0.01);
  EXPECT_EQ(output.at(kHead * kDim + 4), 0);
  EXPECT_NEAR(lse.at(kHead * kQueries), std::log(static_cast<double>(kSeen)), 1e-4);
}

}  // namespace
}  // namespace longspan::test
