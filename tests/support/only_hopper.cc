// Linked into a program of tests, it skips all of them on GPUs that have not the instructions of Hopper, and says so.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "core/kernels/cuda/ptx/success.h"

namespace longspan::test {
namespace {

class OnlyHopper final : public testing::Environment {
  void SetUp() override {
    int device = 0, generation = 0;
    cuda::expect_success(cudaGetDevice(&device), "the GPU of this test");
    cuda::expect_success(cudaDeviceGetAttribute(&generation, cudaDevAttrComputeCapabilityMajor, device), "the kind of GPU");
    if (generation == 9) return;
    std::printf("[  SKIPPED ] this GPU has compute capability %d, not 9\n", generation);  // as CTest looks for
    GTEST_SKIP();
  }
};

[[maybe_unused]] const testing::Environment* const kEnvironment = testing::AddGlobalTestEnvironment(new OnlyHopper);

}  // namespace
}  // namespace longspan::test
