// The cpu backend against the reference, on one thread.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "core/kernels/activation.h"
#include "core/kernels/backends.h"
#include "core/kernels/linear_algebra.h"
#include "tests/core/expect_error.h"
#include "tests/core/kernel_cases.h"
#include "tests/support/tensors.h"

namespace longspan::test {
namespace {

class CpuKernels : public testing::TestWithParam<DTypeAndLevel> {
 protected:
  void expect_reference(const std::vector<KernelCase>& cases) {
    const auto [dtype, level] = GetParam();
    const Context reference = make_reference_context(), cpu = make_cpu_context(dtype, level, 1);
    for (const KernelCase& one : cases) {
      const auto want = run_case(reference, one, dtype), got = run_case(cpu, one, dtype);
      for (size_t i = 0; i < got.size(); ++i) {
        std::string shapes;
        for (const Tensor& t : got) shapes += fmt::format(" {}", t.shape().to_string());
        expect_close(got[i], want[i], tolerance(got[i].dtype()),
                     fmt::format("{} {}, operand {} of{}", one.family, one.name, i, shapes));
        if (HasFatalFailure()) return;
      }
    }
  }
};

TEST_P(CpuKernels, AgreeWithTheReference) {
  for (const auto& [rows, n] : {std::pair<int64_t, int64_t>{0, 8},
                                {3, 0},
                                {1, 1},
                                {1, 16},
                                {2, 2},
                                {3, 7},
                                {5, 33},
                                {64, 64},
                                {129, 130},
                                {3, 2051},
                                {300, 130}}) {
    expect_reference(kernel_cases(rows, n));
  }
}

// Stores around the cache, with ends that they cannot take, against stores into it, which the test above has compared.
TEST_P(CpuKernels, StoreTheSameAroundTheCache) {
  const auto [dtype, level] = GetParam();
  const Context into = make_cpu_context(dtype, level, 1), around = make_cpu_context(dtype, level, 1, 0);
  for (const auto& [rows, n] :
       {std::pair<int64_t, int64_t>{1, 1}, {3, 7}, {5, 33}, {4, 96}, {3, 131}, {2, 1024}, {2, 2051}, {3, 4096}}) {
    for (const KernelCase& one : kernel_cases(rows, n)) {
      const auto want = run_case(into, one, dtype);
      for (const int64_t offset : {0, 1, 16, 31}) {
        const auto got = run_case(around, one, dtype, offset);
        for (size_t i = 0; i < got.size(); ++i) {
          ASSERT_TRUE(bytes(got[i]) == bytes(want[i]))
              << one.name << ", operand " << i << " of " << rows << " x " << n << " at " << offset;
        }
      }
    }
  }
}

TEST_P(CpuKernels, MultiplyAsTheReference) {
  for (const auto& [m, n, k] : {std::tuple<int64_t, int64_t, int64_t>{0, 3, 4},
                                {3, 0, 4},
                                {3, 4, 0},
                                {1, 1, 1},
                                {1, 33, 7},
                                {65, 1, 17},
                                {63, 65, 67},
                                {128, 96, 200},
                                {2, 2100, 3}}) {
    expect_reference(gemm_cases(m, n, k));
  }
}

TEST_P(CpuKernels, LetTransfersOnDuringProducts) {
  expect_progress_in_products(std::get<0>(GetParam()), std::get<1>(GetParam()), 1);
}

// A product that is given what was packed reads that, and packing again takes the same bytes.
TEST_P(CpuKernels, PackMatricesOfManyProducts) {
  const auto [dtype, level] = GetParam();
  const Context c = make_cpu_context(dtype, level, 1);
  const auto& algebra = c.kernels<LinearAlgebra>();
  const Shape shape = {70, 50};
  for (const Transpose transpose : {Transpose::kNo, Transpose::kYes}) {
    const bool transposed = transpose == Transpose::kYes;
    const int64_t k = shape[transposed ? 1 : 0], n = shape[transposed ? 0 : 1];
    const Tensor a = random_tensor(c, {3, k}, dtype, 1, "a"), b = random_tensor(c, shape, dtype, 1, "b");
    const Tensor other = random_tensor(c, shape, dtype, 2, "b"), c1 = c.empty({3, n}, dtype), c2 = c.empty({3, n}, dtype);
    const Tensor packed = algebra.pack(c, transpose, other);
    ASSERT_EQ(packed.defined(), cpu_packs(dtype, level));
    if (!packed.defined()) continue;
    EXPECT_GE(packed.num_bytes(), b.num_bytes());
    EXPECT_EQ(algebra.pack(c, transpose, b, packed).raw(), packed.raw());
    algebra.gemm(c, {.b = transpose}, a, b, c1);
    algebra.gemm(c, {.b = transpose, .packed_b = packed}, a, other, c2);
    expect_close(c2, c1, tolerance(dtype), "a product with what was packed");
    expect_error(ErrorKind::kInternal, {"the packed matrix to reuse"},
                 [&] { algebra.pack(c, transpose, b, c.empty({4}, DType::kUInt8)); });
  }
}

// Of gates as large as there are, z sigmoid(z) and its derivative are those of the reference, too: 0 far below it, z and 1 far
// above, and not a number where the product is 0 times infinity.
TEST_P(CpuKernels, SwigluOfTheLargestGates) {
  const auto [dtype, level] = GetParam();
  constexpr float kGates[] = {-INFINITY, -3e38f, -1e30f, -1000, -90, -86.5f, 86.5f, 90, 1000, 1e30f, 3e38f, INFINITY, NAN};
  const Shape shape = {3, static_cast<int64_t>(std::size(kGates))};
  const auto run = [&](const Context& c, DType type) {
    const auto filled = [&](auto value) {
      const Tensor t = c.empty(shape, type);
      for (int64_t i = 0; i < t.num_elements(); ++i) {
        const float x = value(static_cast<size_t>(i % shape[1]));
        if (type == DType::kFloat64) t.data<double>()[i] = dtype == DType::kBFloat16 ? static_cast<float>(bfloat16(x)) : x;
        if (type == DType::kFloat32) t.data<float>()[i] = x;
        if (type == DType::kBFloat16) t.data<bfloat16>()[i] = bfloat16(x);
      }
      return t;
    };
    const Tensor gate = filled([&](size_t i) { return kGates[i]; }), one = filled([](size_t) { return 1.0f; });
    std::vector<Tensor> results;
    for (int i = 0; i < 3; ++i) results.push_back(c.empty(shape, type));
    c.kernels<Activation>().swiglu_forward(c, gate, one, results[0]);
    c.kernels<Activation>().swiglu_backward(c, one, gate, one, results[1], results[2]);
    std::vector<double> all;
    for (const Tensor& t : results) {
      for (const double x : values(t)) all.push_back(x);
    }
    return all;
  };
  const std::vector<double> got = run(make_cpu_context(dtype, level, 1), dtype);
  const std::vector<double> want = run(make_reference_context(), DType::kFloat64);
  for (size_t i = 0; i < want.size(); ++i) {
    SCOPED_TRACE(
        fmt::format("result {} of gate {}", i / static_cast<size_t>(shape.num_elements()), kGates[i % std::size(kGates)]));
    if (std::isnan(want[i]) || std::isinf(want[i])) {
      EXPECT_TRUE(std::isnan(want[i]) ? std::isnan(got[i]) : got[i] == want[i]) << got[i] << ", not " << want[i];
    } else {
      EXPECT_LE(std::abs(got[i] - want[i]), 1e-30 + 0.01 * std::abs(want[i])) << got[i] << ", not " << want[i];
    }
  }
}

// Every gate there is in bfloat16, by factors of several sizes: as exact as rounding to it allows, but for a unit in the last
// place.
class BFloat16Kernels : public testing::TestWithParam<CpuLevel> {};

TEST_P(BFloat16Kernels, SwigluOfEveryGate) {
  constexpr DType dtype = DType::kBFloat16;
  const Context c = make_cpu_context(dtype, GetParam(), 1);
  constexpr int64_t kGates = 1 << 16;
  const Shape shape = {1, kGates};
  const Tensor gate = c.empty(shape, dtype), up = c.empty(shape, dtype), y = c.empty(shape, dtype), dgate = c.empty(shape, dtype),
               dup = c.empty(shape, dtype);
  for (const float factor : {1.0f, -1.3046875f, 0.0079345703125f, 1.9921875f}) {
    for (int64_t i = 0; i < kGates; ++i) {
      gate.data<bfloat16>()[i].bits = static_cast<uint16_t>(i);
      up.data<bfloat16>()[i] = bfloat16(factor);
    }
    c.kernels<Activation>().swiglu_forward(c, gate, up, y);
    c.kernels<Activation>().swiglu_backward(c, up, gate, up, dgate, dup);
    for (int64_t i = 0; i < kGates; ++i) {
      const double z = static_cast<float>(gate.data<bfloat16>()[i]);
      if (!std::isfinite(z)) continue;  // with those of the largest gates
      const double s = 1 / (1 + std::exp(-z)), f = factor;
      const std::tuple<const char*, Tensor, double> results[] = {
          {"y", y, f * z * s}, {"dgate", dgate, f * f * s * (1 + z * (1 - s))}, {"dup", dup, f * z * s}};
      for (const auto& [name, tensor, want] : results) {
        const double got = static_cast<float>(tensor.data<bfloat16>()[i]);
        const double rounded = static_cast<float>(bfloat16(static_cast<float>(want)));
        const double unit = std::ldexp(1.0, std::ilogb(std::max(std::abs(rounded), 1e-30)) - 7);
        ASSERT_TRUE(std::isinf(rounded) ? got == rounded : std::abs(got - rounded) <= unit)
            << name << " of gate " << z << " and factor " << f << ": " << got << ", not " << rounded;
      }
    }
  }
}

// Ranks are threads that share one set of kernels, and with it the products that are kept by shape.
TEST_P(CpuKernels, ServeSeveralRanks) {
  const auto [dtype, level] = GetParam();
  const auto kernels = std::make_shared<KernelSet>("cpu");
  add_cpu_kernels(*kernels, level);
  Context::Options options;
  options.compute_dtype = dtype;
  options.kernels = kernels;
  std::vector<KernelCase> cases = gemm_cases(9, 17, 33);
  for (const KernelCase& one : kernel_cases(5, 18)) cases.push_back(one);
  std::vector<std::string> results(4);
  std::vector<std::thread> ranks;
  for (std::string& result : results) {
    ranks.emplace_back([&] {
      const Context context(options);
      for (const KernelCase& one : cases) {
        for (const Tensor& t : run_case(context, one, dtype)) result += bytes(t);
      }
    });
  }
  for (std::thread& rank : ranks) rank.join();
  for (const std::string& result : results) EXPECT_TRUE(!result.empty() && result == results.front());
}

INSTANTIATE_TEST_SUITE_P(All, CpuKernels,
                         testing::Combine(testing::Values(DType::kFloat32, DType::kBFloat16),
                                          testing::ValuesIn(supported_cpu_levels())),
                         parameter_name);
INSTANTIATE_TEST_SUITE_P(All, BFloat16Kernels, testing::ValuesIn(supported_cpu_levels()),
                         [](const auto& parameter) { return std::string(name(parameter.param)); });

}  // namespace
}  // namespace longspan::test
