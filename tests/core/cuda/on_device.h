// Tests of device code, for a GPU and for the emulator: buffers in device memory, and launches that are waited for.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <vector>

#include "core/base/bfloat16.h"
#include "core/kernels/cuda/ptx/launch.h"

namespace longspan::test {

// n elements of device memory, at first all bytes 0xff.
template <class T>
class DeviceBuffer {
 public:
  explicit DeviceBuffer(size_t n) : n_(n) {
#if defined(__CUDACC__)
    LS_CUDA::expect_success(cudaMalloc(&data_, n * sizeof(T)), "memory of a test");
    LS_CUDA::expect_success(cudaMemset(data_, 0xff, n * sizeof(T)), "memory of a test");
#else
    data_ = static_cast<T*>(simt::allocate_global(n * sizeof(T)));
#endif
  }
  explicit DeviceBuffer(const std::vector<T>& values) : DeviceBuffer(values.size()) {
#if defined(__CUDACC__)
    LS_CUDA::expect_success(cudaMemcpy(data_, values.data(), n_ * sizeof(T), cudaMemcpyHostToDevice), "copy to the device");
#else
    std::memcpy(data_, values.data(), n_ * sizeof(T));
#endif
  }
  ~DeviceBuffer() {
#if defined(__CUDACC__)
    cudaFree(data_);
#else
    simt::free_global(data_);
#endif
  }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  T* data() const { return data_; }
  std::vector<T> values() const {
    std::vector<T> host(n_);
#if defined(__CUDACC__)
    LS_CUDA::expect_success(cudaMemcpy(host.data(), data_, n_ * sizeof(T), cudaMemcpyDeviceToHost), "copy from the device");
#else
    std::memcpy(host.data(), data_, n_ * sizeof(T));
#endif
    return host;
  }

 private:
  size_t n_;
  T* data_ = nullptr;
};

// Returns when the kernel is done; raises where it did something wrong.
template <class... Parameters, class... Arguments>
void launch_and_wait(void (*kernel)(Parameters...), const LaunchShape& shape, const Arguments&... arguments) {
  LS_CUDA::launch(LS_CUDA::NativeStream{}, kernel, shape, arguments...);
#if defined(__CUDACC__)
  LS_CUDA::expect_success(cudaDeviceSynchronize(), "kernel");
#endif
}

constexpr int kNumSeeds = 10;  // schedules that each test runs under in the emulator; a GPU has its own

inline void for_each_seed(const std::function<void()>& body, [[maybe_unused]] int num_seeds = kNumSeeds) {
#if defined(LS_SIMT)
  for (int seed = 1; seed <= num_seeds; ++seed) {
    simt::options() = {};
    simt::options().seed = static_cast<uint64_t>(seed);
    SCOPED_TRACE(seed);
    body();
    if (testing::Test::HasFailure()) return;
  }
#else
  body();
#endif
}

// Elements that products of bfloat16 sum without rounding.
inline std::vector<bfloat16> small_integers(size_t n, uint64_t seed) {
  std::vector<bfloat16> values(n);
  for (size_t i = 0; i < n; ++i) {
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    values[i] = bfloat16(static_cast<float>(static_cast<int>(seed >> 33) % 5 - 2));
  }
  return values;
}

}  // namespace longspan::test
