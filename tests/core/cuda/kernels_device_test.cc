// The kernels of the cuda backend on the device of this program, against the reference: the cases of their twins on the cpu, with
// tensors in the device's own memory; and products of matrices, which on an emulated device are the host's.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <array>

#include "core/kernels/linear_algebra.h"
#include "tests/core/kernel_cases.h"
#include "tests/support/device_under_test.h"

namespace longspan::test {
namespace {

class DeviceKernels : public testing::TestWithParam<DType> {
 protected:
  void expect_reference(const std::vector<KernelCase>& cases, const std::string& size) {
    const DType dtype = GetParam();
    const Context reference = make_reference_context(), device = exact_device_context(dtype);
    for (const KernelCase& one : cases) {
      const auto want = run_case(reference, one, dtype);
      for (const int64_t offset : {0, 1}) {
        const auto got = run_case(device, one, dtype, offset);
        for (size_t i = 0; i < got.size(); ++i)
          expect_close(got[i], want[i], tolerance(got[i].dtype()),
                       fmt::format("{} {}, operand {} of {}, offset {}", one.family, one.name, i, size, offset));
        if (HasFailure()) return;
      }
    }
  }
};

TEST_P(DeviceKernels, AgreeWithTheReference) {
  constexpr std::pair<int64_t, int64_t> kShapes[] = {{0, 8}, {3, 0},  {1, 1},     {1, 16},  {2, 2},
                                                     {3, 7}, {5, 33}, {129, 130}, {3, 2051}};
  for (const auto& [rows, n] : kShapes) {
    expect_reference(kernel_cases(rows, n), fmt::format("{} x {}", rows, n));
    if (HasFailure()) return;
  }
}

TEST_P(DeviceKernels, AgreeWithTheReferenceWhereLarge) {
  std::vector<std::pair<int64_t, int64_t>> shapes = {{64, 64}, {1000, 4096}, {257, 30000}};
  if (device_is_emulated()) shapes.resize(1);
  for (const auto& [rows, n] : shapes) {
    expect_reference(kernel_cases(rows, n), fmt::format("{} x {}", rows, n));
    if (HasFailure()) return;
  }
}

// Where sums are much longer, the order in which float32 adds shows in the last bits that are compared.
TEST_P(DeviceKernels, ProductsAgreeWithTheReference) {
  constexpr std::array<int64_t, 3> kSizes[] = {{1, 1, 1}, {1, 5, 3}, {4, 1, 3}, {5, 7, 1},
                                                {3, 2, 0}, {9, 17, 33}, {130, 70, 67}, {128, 256, 160}};
  for (const auto& [m, n, k] : kSizes) {
    expect_reference(gemm_cases(m, n, k), fmt::format("{} x {} x {}", m, n, k));
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(DTypes, DeviceKernels, testing::Values(DType::kFloat32, DType::kBFloat16),
                         [](const auto& parameter) { return std::string(name(parameter.param)); });

// Small integers, whose sums are exact in every order.
Tensor integers(const Context& context, int64_t rows, int64_t columns, DType dtype,
                const std::function<float(int64_t)>& scale = [](int64_t) { return 1.0f; }) {
  const Tensor t = context.host().empty({rows, columns}, dtype);
  for (int64_t i = 0; i < t.num_elements(); ++i) {
    const auto value = scale(i) * static_cast<float>((i * 2654435761ll >> 7) % 5 - 2);
    if (dtype == DType::kFloat32) t.data<float>()[i] = value;
    else t.data<bfloat16>()[i] = bfloat16(value);
  }
  return context.to_device(t);
}

// Large enough that ways are timed, which may leave no trace: halves of it, which are not timed, must give the same.
TEST(DeviceProducts, AreTheSameWhereWaysAreTimed) {
  constexpr int64_t kSize = 1024;
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    const Context context = device_context(dtype);
    const auto& algebra = context.kernels<LinearAlgebra>();
    const Tensor a = integers(context, kSize, kSize, dtype), b = integers(context, kSize, kSize, dtype);
    for (const Write write : {Write::kAssign, Write::kAccumulate}) {
      const Tensor whole = integers(context, kSize, kSize, DType::kFloat32);
      const Tensor halves = integers(context, kSize, kSize, DType::kFloat32);
      algebra.gemm(context, {.write = write}, a, b, whole);
      for (const int64_t row : {int64_t{0}, kSize / 2})
        algebra.gemm(context, {.write = write}, a.slice(0, row, row + kSize / 2), b, halves.slice(0, row, row + kSize / 2));
      EXPECT_TRUE(bytes(context.to_host(whole)) == bytes(context.to_host(halves)))
          << name(dtype) << (write == Write::kAssign ? " assigned" : " accumulated");
    }
  }
}

TEST(DeviceProducts, RepeatToTheBit) {
  const Context context = device_context(DType::kBFloat16);
  const auto& algebra = context.kernels<LinearAlgebra>();
  // Sums that do depend on their order.
  const Tensor a = integers(context, 64, 8192, DType::kBFloat16, [](int64_t i) { return 1 + static_cast<float>(i % 61) / 7; });
  const Tensor b = integers(context, 8192, 64, DType::kBFloat16);
  std::string first;
  for (int repetition = 0; repetition < 20; ++repetition) {
    const Tensor c = context.empty({64, 64}, DType::kFloat32);
    algebra.gemm(context, {}, a, b, c);
    const std::string now = bytes(context.to_host(c));
    if (first.empty()) first = now;
    ASSERT_TRUE(now == first) << "repetition " << repetition;
  }
}

}  // namespace
}  // namespace longspan::test
