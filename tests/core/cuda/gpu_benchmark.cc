// Rates of the cuda backend on the GPU that is visible first, beside what the GPU itself does: products of matrices and a copy.
#include "tests/core/cuda/gpu_benchmark.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "attention/kernels/block_attention.h"
#include "core/kernels/backends.h"
#include "core/kernels/cuda/ptx/success.h"
#include "core/kernels/linear_algebra.h"
#include "core/runtime/cuda.h"

namespace longspan::test {

using cuda::expect_success;

namespace {

// Returns when it is there, and all that was given to the GPU before is done.
void copy_and_wait(void* to, const void* from, size_t num_bytes) {
  expect_success(cudaDeviceSynchronize(), "a kernel");
  expect_success(cudaMemcpy(to, from, num_bytes, cudaMemcpyDefault), "a copy");
}

template <class T>
Tensor upload(const Context& context, const Shape& shape, DType dtype, const std::function<T(uint64_t)>& element) {
  std::vector<T> host(static_cast<size_t>(shape.num_elements()));
  uint64_t state = 1;
  for (T& value : host) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    value = element(state >> 33);  // 31 bits
  }
  const Tensor tensor = context.empty(shape, dtype);
  copy_and_wait(tensor.raw(), host.data(), host.size() * sizeof(T));
  return tensor;
}

void bench_products(DType dtype, int64_t size) {
  const Context context = device_context(dtype);
  const auto& algebra = context.kernels<LinearAlgebra>();
  const Tensor a = random_on_device(context, {size, size}, dtype), b = random_on_device(context, {size, size}, dtype);
  const double flop = 2.0 * std::pow(static_cast<double>(size), 3);
  const auto time = [&](const char* what, const GemmOptions& options, const Tensor& c) {
    const double seconds = seconds_of(context, [&] { algebra.gemm(context, options, a, b, c); });
    fmt::print("{:<28}  {:<8}  {:>6}^3  {:>7.1f} TFLOP/s\n", what, name(dtype), size, flop / seconds * 1e-12);
  };
  time("product a b^T", {.b = Transpose::kYes}, context.empty({size, size}, dtype));
  time("product a b", {}, context.empty({size, size}, dtype));
  time("product a^T b, accumulated", {.a = Transpose::kYes, .write = Write::kAccumulate},
       random_on_device(context, {size, size}, DType::kFloat32));
}

}  // namespace

Context device_context(DType dtype) {
  auto kernels = std::make_shared<KernelSet>("cuda");
  add_cuda_kernels(*kernels);
  add_cuda_attention(*kernels);
  Context::Options options;
  options.device = {DeviceType::kCuda, 0};
  options.compute_dtype = dtype;
  options.kernels = kernels;
  options.memory = std::make_shared<CachingResource>(make_cuda_memory(0));
  options.host_memory = std::make_shared<CachingResource>(make_pinned_memory(), Reuse::kWhenDone);
  options.stream = make_cuda_stream(0);
  return Context(options);
}

Tensor random_on_device(const Context& context, const Shape& shape, DType dtype, float low) {
  const auto number = [low](uint64_t bits) { return low + static_cast<float>(bits) * 0x1p-31f; };
  if (dtype == DType::kFloat32) return upload<float>(context, shape, dtype, number);
  return upload<bfloat16>(context, shape, dtype, [&](uint64_t bits) { return bfloat16(number(bits)); });
}

Tensor tokens_on_device(const Context& context, int64_t count, int64_t bound) {
  return upload<int32_t>(context, {count}, DType::kInt32,
                         [bound](uint64_t bits) { return static_cast<int32_t>(static_cast<int64_t>(bits) % bound); });
}

void fill_on_device(const Tensor& tensor, float value) {
  const std::vector<float> host(static_cast<size_t>(tensor.num_elements()), value);
  copy_and_wait(tensor.data<float>(), host.data(), tensor.num_bytes());
}

double seconds_of(const Context& context, const std::function<void()>& body) {
  CUstream_st* const stream = context.stream().native();
  cudaEvent_t begin = nullptr, end = nullptr;
  expect_success(cudaEventCreate(&begin), "an event");
  expect_success(cudaEventCreate(&end), "an event");
  const auto time = [&](int count) {
    float milliseconds = 0;
    expect_success(cudaEventRecord(begin, stream), "an event");
    for (int i = 0; i < count; ++i) body();
    expect_success(cudaEventRecord(end, stream), "an event");
    expect_success(cudaEventSynchronize(end), "a kernel");
    expect_success(cudaEventElapsedTime(&milliseconds, begin, end), "time between events");
    return milliseconds * 1e-3 / count;
  };
  body();
  const double guess = time(1);
  const double mean = time(std::clamp(static_cast<int>(0.2 / guess), 1, 1000));
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  return mean;
}

double copy_rate() {
  const Context context = device_context(DType::kFloat32);
  const Tensor from = context.empty({int64_t{1} << 28}, DType::kFloat32), to = context.empty(from.shape(), DType::kFloat32);
  const auto copy = [&] {
    expect_success(cudaMemcpyAsync(to.raw(), from.raw(), from.num_bytes(), cudaMemcpyDeviceToDevice, context.stream().native()),
                   "a copy");
  };
  return 2.0 * static_cast<double>(from.num_bytes()) / seconds_of(context, copy);
}

}  // namespace longspan::test

int main() {
  using namespace longspan;
  using namespace longspan::test;
  try {
    cudaDeviceProp gpu{};
    cuda::expect_success(cudaGetDeviceProperties(&gpu, 0), "the GPU");
    const double copy = copy_rate();
    fmt::print("{}, {} multiprocessors; a copy reads and writes {:.0f} GB/s\n", gpu.name, gpu.multiProcessorCount, copy * 1e-9);
    bench_products(DType::kBFloat16, 8192);
    bench_products(DType::kFloat32, 4096);
    for (const DType dtype : {DType::kBFloat16, DType::kFloat32}) bench_memory_bound(device_context(dtype), copy);
    bench_attention(device_context(DType::kBFloat16));
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "gpu_benchmark: {}\n", error.what());
    return 5;
  }
}
