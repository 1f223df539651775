// What cuBLASLt is told of a product, without cuBLASLt: a naive product of matrices stored by columns, given the same words,
// must make of every case of `gemm` what the reference does. And which of several ways is taken.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <limits>

#include "core/kernels/cuda/choices.h"
#include "core/kernels/cuda/product.h"
#include "tests/core/kernel_cases.h"
#include "tests/support/tensors.h"

namespace longspan::test {
namespace {

using LS_CUDA::Choices;
using LS_CUDA::ColumnMatrix;
using LS_CUDA::ColumnProduct;
using LS_CUDA::describe_product;

size_t place(const ColumnMatrix& matrix, int64_t row, int64_t column) {
  if (row < 0 || row >= matrix.rows || column < 0 || column >= matrix.columns) throw std::out_of_range("of a matrix");
  return static_cast<size_t>(column * matrix.ld + row);
}

double read(const ColumnMatrix& matrix, const void* data, int64_t row, int64_t column) {
  const size_t i = place(matrix, row, column);
  return matrix.dtype == DType::kBFloat16 ? static_cast<double>(static_cast<float>(static_cast<const bfloat16*>(data)[i]))
                                          : static_cast<double>(static_cast<const float*>(data)[i]);
}

double read(const ColumnMatrix& matrix, const void* data, Transpose transpose, int64_t row, int64_t column) {
  return transpose == Transpose::kYes ? read(matrix, data, column, row) : read(matrix, data, row, column);
}

void write(const ColumnMatrix& matrix, void* data, int64_t row, int64_t column, double value) {
  const size_t i = place(matrix, row, column);
  if (matrix.dtype == DType::kBFloat16) {
    static_cast<bfloat16*>(data)[i] = bfloat16(static_cast<float>(value));
  } else {
    static_cast<float*>(data)[i] = static_cast<float>(value);
  }
}

// As the BLAS define it. It knows nothing of rows.
void multiply(const ColumnProduct& p, const void* left, const void* right, void* output) {
  for (int64_t i = 0; i < p.output.rows; ++i) {
    for (int64_t j = 0; j < p.output.columns; ++j) {
      double sum = p.write == Write::kAccumulate ? read(p.output, output, i, j) : 0.0;
      for (int64_t k = 0; k < p.depth(); ++k)
        sum += read(p.left, left, p.left_transpose, i, k) * read(p.right, right, p.right_transpose, k, j);
      write(p.output, output, i, j, sum);
    }
  }
}

class NaiveLinearAlgebra final : public LinearAlgebra {
  void do_gemm(const Context&, const GemmOptions& options, const Tensor& a, const Tensor& b, const Tensor& c) const override {
    multiply(describe_product(options, a, b, c), b.raw(), a.raw(), c.raw());
  }
};

Context naive_context(DType dtype) {
  auto kernels = std::make_shared<KernelSet>("naive");
  kernels->add<LinearAlgebra>(std::make_shared<NaiveLinearAlgebra>());
  Context::Options options;
  options.compute_dtype = dtype;
  options.kernels = kernels;
  return Context(options);
}

class ProductDescription : public testing::TestWithParam<DType> {};

TEST_P(ProductDescription, IsThatOfTheProduct) {
  const DType dtype = GetParam();
  const Context reference = make_reference_context(), naive = naive_context(dtype);
  constexpr std::array<int64_t, 3> kSizes[] = {{1, 1, 1}, {1, 5, 3}, {4, 1, 3}, {5, 7, 1}, {3, 2, 0}, {9, 17, 33}};
  for (const auto& [m, n, k] : kSizes) {
    for (const KernelCase& one : gemm_cases(m, n, k)) {
      const auto want = run_case(reference, one, dtype), got = run_case(naive, one, dtype);
      for (size_t i = 0; i < got.size(); ++i)
        expect_close(got[i], want[i], tolerance(got[i].dtype()), fmt::format("operand {} of {} x {} x {}", i, m, n, k));
      if (HasFailure()) return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(DTypes, ProductDescription, testing::Values(DType::kFloat32, DType::kBFloat16),
                         [](const auto& parameter) { return std::string(name(parameter.param)); });

TEST(ProductKey, HoldsAllThatAWayDependsOn) {
  const Context context = naive_context(DType::kBFloat16);
  const auto matrix = [&](int64_t rows, int64_t columns, DType dtype = DType::kBFloat16) {
    return context.empty({rows, columns}, dtype);
  };
  const Tensor a = matrix(8, 16), b = matrix(16, 32), c = matrix(8, 32);
  const ColumnProduct key = describe_product({}, a, b, c);
  EXPECT_EQ(key, describe_product({}, matrix(8, 16), matrix(16, 32), matrix(8, 32))) << "other memory, same product";
  EXPECT_EQ(key.left.alignment, 16u);
  EXPECT_EQ(key.multiplications(), 8.0 * 16 * 32);

  const GemmOptions accumulating = {.write = Write::kAccumulate};
  EXPECT_NE(key, describe_product(accumulating, a, b, c));
  EXPECT_NE(key, describe_product({}, a, b, matrix(8, 32, DType::kFloat32)));
  EXPECT_NE(key, describe_product({}, a, b, matrix(8, 40).slice(1, 0, 32))) << "rows that are further apart";
  EXPECT_NE(key, describe_product({.b = Transpose::kYes}, a, matrix(32, 16), c));
  EXPECT_NE(key, describe_product({.a = Transpose::kYes}, matrix(16, 8), b, c));

  const Tensor shifted = matrix(8, 40).slice(1, 3, 19);
  EXPECT_EQ(describe_product({}, shifted, b, c).right.alignment, 2u) << "three elements of two bytes";
  EXPECT_NE(describe_product({}, shifted, b, c), describe_product({}, matrix(8, 40).slice(1, 0, 16), b, c));
}

// A product of more elements than 32 bits count, which nobody has the memory for.
TEST(ProductKey, CountsBeyond32Bits) {
  ColumnProduct huge;
  huge.left = {.rows = 1ll << 33, .columns = 1ll << 20, .ld = 1ll << 33};
  huge.output = {.rows = 1ll << 33, .columns = 1ll << 34, .ld = 1ll << 33};
  EXPECT_EQ(huge.multiplications(), static_cast<double>(1ll << 33) * static_cast<double>(1ll << 34) * (1 << 20));
}

// Ways are numbers, and their times too.
struct Ways {
  std::vector<int> found;
  std::map<int, double> seconds;
  int num_finds = 0;
  std::vector<int> timed = {};

  int choose(Choices<int, int>& choices, int problem, bool measured = true) {
    const auto find = [&] { return ++num_finds, found; };
    const auto time = [&](int way) { return timed.push_back(way), seconds.at(way); };
    return choices.choose(problem, measured, find, time);
  }
};

TEST(Choices, TakesTheFastestAndMeasuresOnce) {
  Choices<int, int> choices;
  Ways ways = {.found = {7, 5, 9}, .seconds = {{7, 3.0}, {5, 1.0}, {9, 2.0}}};
  EXPECT_EQ(ways.choose(choices, 1), 5);
  ways.seconds[5] = 100;
  EXPECT_EQ(ways.choose(choices, 1), 5);
  EXPECT_EQ(ways.num_finds, 1);
  EXPECT_EQ(ways.timed, (std::vector<int>{7, 5, 9}));
  EXPECT_EQ(ways.choose(choices, 2), 9) << "another problem is measured by itself";
}

TEST(Choices, TakesTheFirstWhereNothingIsMeasured) {
  Choices<int, int> choices;
  Ways ways = {.found = {7, 5}, .seconds = {{7, 3.0}, {5, 1.0}}};
  EXPECT_EQ(ways.choose(choices, 1, false), 7);
  EXPECT_TRUE(ways.timed.empty());
  ways.found = {5};
  EXPECT_EQ(ways.choose(choices, 2), 5);
  EXPECT_TRUE(ways.timed.empty()) << "of one way";
}

TEST(Choices, PassesOverWaysThatFail) {
  Choices<int, int> choices;
  constexpr double kFails = std::numeric_limits<double>::infinity();
  Ways ways = {.found = {7, 5, 9}, .seconds = {{7, kFails}, {5, kFails}, {9, 2.0}}};
  EXPECT_EQ(ways.choose(choices, 1), 9);
  ways.seconds[9] = kFails;
  EXPECT_EQ(ways.choose(choices, 2), 7) << "which then says what is wrong";
}

TEST(Choices, KeepsNoMoreThanARunMeets) {
  Choices<int, int> choices;
  Ways ways = {.found = {7, 5}, .seconds = {{7, 3.0}, {5, 1.0}}};
  for (int problem = 0; problem < static_cast<int>(LS_CUDA::kMostChoices); ++problem) EXPECT_EQ(ways.choose(choices, problem), 5);
  const size_t num_timed = ways.timed.size();
  EXPECT_EQ(ways.choose(choices, -1), 7);
  EXPECT_EQ(ways.timed.size(), num_timed);
  EXPECT_EQ(ways.choose(choices, 0), 5) << "what was chosen stays";
}

}  // namespace
}  // namespace longspan::test
