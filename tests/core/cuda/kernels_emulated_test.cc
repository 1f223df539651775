// The kernels of the cuda backend, run in the emulator, against the reference: the cases of their twins on the cpu, under many
// schedules.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include "tests/core/kernel_cases.h"
#include "tests/support/emulated_cuda.h"
#include "tests/support/simt/scheduler.h"

namespace longspan::test {
namespace {

constexpr uint64_t kNumSeeds = 10;
constexpr std::pair<int64_t, int64_t> kShapes[] = {{0, 8},   {3, 0},   {1, 1},     {1, 16},   {2, 2},
                                                   {3, 7},   {5, 33},  {64, 64},   {129, 130}, {3, 2051}};

class EmulatedKernels : public testing::TestWithParam<DType> {};

TEST_P(EmulatedKernels, AgreeWithTheReference) {
  const DType dtype = GetParam();
  const Context reference = make_reference_context(), device = emulated_cuda_context(dtype);
  for (const auto& [rows, n] : kShapes) {
    for (const KernelCase& one : kernel_cases(rows, n)) {
      const auto want = run_case(reference, one, dtype);
      for (uint64_t seed = 1; seed <= kNumSeeds; ++seed) {
        simt::options() = {};
        simt::options().seed = seed;
        const auto got = run_case(device, one, dtype, static_cast<int64_t>(seed % 3));
        for (size_t i = 0; i < got.size(); ++i)
          expect_close(got[i], want[i], tolerance(got[i].dtype()),
                       fmt::format("{} {}, operand {} of {} x {}, seed {}", one.family, one.name, i, rows, n, seed));
        if (HasFailure()) return;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(DTypes, EmulatedKernels, testing::Values(DType::kFloat32, DType::kBFloat16),
                         [](const auto& parameter) { return std::string(name(parameter.param)); });

}  // namespace
}  // namespace longspan::test
