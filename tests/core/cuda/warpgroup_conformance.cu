// wgmma reads operands where the PTX ISA puts them (sections on asynchronous warpgroup matrices): both major dims, every
// swizzle, A in registers or in shared memory. Boxes bring the operands, so that the copy unit's swizzle is tested with it.
#include "core/kernels/cuda/ptx/barrier.h"
#include "core/kernels/cuda/ptx/memory.h"
#include "core/kernels/cuda/ptx/warp.h"
#include "core/kernels/cuda/ptx/warpgroup.h"
#include "tests/core/cuda/on_device.h"
#include "tests/core/cuda/tensor_map.h"

namespace longspan::test {
namespace {

using namespace LS_CUDA;

constexpr int kRows = 64, kDepth = 64;
constexpr int width_of(Swizzle swizzle) { return swizzle == Swizzle::kNone ? 8 : 8 << static_cast<int>(swizzle); }

// In shared memory an operand is boxes of `width` columns. K-major: boxes along K of all rows; else along the rows of all K.
template <int kOperandRows, Major kMajor, Swizzle kSwizzle>
LS_DEVICE uint64_t step_descriptor(uint32_t address, int step) {  // of 16 along K
  constexpr int kWidth = width_of(kSwizzle), kBox = (kMajor == Major::kMn ? kDepth : kOperandRows) * kWidth * 2;
  if constexpr (kMajor == Major::kMn) {
    return kSwizzle == Swizzle::kNone ? matrix_descriptor(address + step * 16 * 16, 128, kBox, kSwizzle)
                                      : matrix_descriptor(address + step * 16 * kWidth * 2, kBox, 8 * kWidth * 2, kSwizzle);
  } else {
    return kSwizzle == Swizzle::kNone
               ? matrix_descriptor(address + step * 2 * kBox, kBox, 128, kSwizzle)
               : matrix_descriptor(address + step * 16 / kWidth * kBox + step * 16 % kWidth * 2, 16, 8 * kWidth * 2, kSwizzle);
  }
}

LS_DEVICE uint32_t pair(const bfloat16* first) {
  return load_global(&first[0].bits) | static_cast<uint32_t>(load_global(&first[1].bits)) << 16;
}

template <int n, Major kMajorA, Major kMajorB, Swizzle kSwizzle, bool kRegisters>
__global__ void __launch_bounds__(128) multiply(const __grid_constant__ TensorMap map_a, const __grid_constant__ TensorMap map_b,
                                                const bfloat16* a, float* out) {
  constexpr int kWidth = width_of(kSwizzle), kRowsB = kMajorB == Major::kMn ? kDepth : n;
  const uint32_t shared_a = shared_base(), shared_b = shared_a + kRows * kDepth * 2, arrived = shared_b + n * kDepth * 2;
  const int thread = thread_index();
  if (thread == 0) {
    mbarrier_init(arrived, 1, "operands");
    fence_mbarrier_init();
  }
  sync_block();
  if (thread == 0) {
    mbarrier_arrive_expect(arrived, (kRows + n) * kDepth * 2);
    for (int i = 0; i < 64 / kWidth; ++i) load_box_2d(shared_a + i * 64 * kWidth * 2, &map_a, arrived, i * kWidth, 0);
    for (int i = 0; i < (kMajorB == Major::kMn ? n : kDepth) / kWidth; ++i)
      load_box_2d(shared_b + i * kRowsB * kWidth * 2, &map_b, arrived, i * kWidth, 0);
  }
  mbarrier_wait(arrived, 0);
  float d[n / 2];
  for (int i = 0; i < n / 2; ++i) d[i] = static_cast<float>(i & 3);
  const int row = thread / 32 * 16 + lane_index() / 4, column = 2 * (thread % 4);
  uint32_t fragments[4][4];
  for (int k = 0; k < 4; ++k)
    for (int i = 0; i < 4; ++i) fragments[k][i] = pair(a + (row + 8 * (i % 2)) * kDepth + 16 * k + column + 8 * (i / 2));
  warpgroup_fence(d, fragments);
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const uint64_t b = step_descriptor<n, kMajorB, kSwizzle>(shared_b, k);
    if constexpr (kRegisters) warpgroup_multiply<n, kMajorB>(d, fragments[k], b, true);
    else warpgroup_multiply<n, kMajorA, kMajorB>(d, step_descriptor<kRows, kMajorA, kSwizzle>(shared_a, k), b, true);
  }
  warpgroup_commit();
  warpgroup_wait<0>(d);
  for (int i = 0; i < n / 2; ++i) store_global(out + (row + 8 * (i / 2 % 2)) * n + 8 * (i / 4) + column + i % 2, d[i]);
}

std::vector<bfloat16> transposed(const std::vector<bfloat16>& matrix, size_t rows) {
  std::vector<bfloat16> turned(matrix.size());
  const size_t columns = matrix.size() / rows;
  for (size_t i = 0; i < rows; ++i)
    for (size_t j = 0; j < columns; ++j) turned[j * rows + i] = matrix[i * columns + j];
  return turned;
}

template <Major kMajor, Swizzle kSwizzle>
TensorMap operand_map(const DeviceBuffer<bfloat16>& operand, uint64_t rows) {
  const uint64_t x = kMajor == Major::kMn ? rows : kDepth, y = kMajor == Major::kMn ? kDepth : rows;
  const uint32_t box[] = {static_cast<uint32_t>(width_of(kSwizzle)), static_cast<uint32_t>(y)};
  return make_tensor_map(operand.data(), {x, y}, {x * 2}, box, kSwizzle);
}

template <int n, Major kMajorA, Major kMajorB, Swizzle kSwizzle, bool kRegisters = false>
void expect_product() {
  const auto a = small_integers(kRows * kDepth, 5), b = small_integers(n * kDepth, 6);
  std::vector<float> want(kRows * n);
  for (size_t i = 0; i < kRows; ++i) {
    for (size_t j = 0; j < n; ++j) {
      float sum = static_cast<float>(j % 2 + 2 * (i / 8 % 2));
      for (size_t k = 0; k < kDepth; ++k)
        sum += static_cast<float>(a[i * kDepth + k]) * static_cast<float>(b[j * kDepth + k]);
      want[i * n + j] = sum;
    }
  }
  for_each_seed([&] {
    const DeviceBuffer<bfloat16> plain_a(a), device_a(kMajorA == Major::kMn ? transposed(a, kRows) : a),
        device_b(kMajorB == Major::kMn ? transposed(b, n) : b);
    const DeviceBuffer<float> out(kRows * n);
    launch_and_wait(
        multiply<n, kMajorA, kMajorB, kSwizzle, kRegisters>, {.threads = 128, .shared_bytes = (kRows + n) * kDepth * 2 + 64},
        operand_map<kMajorA, kSwizzle>(device_a, kRows), operand_map<kMajorB, kSwizzle>(device_b, n), plain_a.data(), out.data());
    EXPECT_EQ(out.values(), want);
  }, 4);
}

template <int n, Swizzle kSwizzle>
void expect_products() {
  expect_product<n, Major::kK, Major::kK, kSwizzle>();
  expect_product<n, Major::kK, Major::kMn, kSwizzle>();
  expect_product<n, Major::kMn, Major::kK, kSwizzle>();
  expect_product<n, Major::kMn, Major::kMn, kSwizzle>();
}

TEST(WarpgroupConformance, Swizzle128) { expect_products<64, Swizzle::k128Bytes>(); }
TEST(WarpgroupConformance, Swizzle64) { expect_products<64, Swizzle::k64Bytes>(); }
TEST(WarpgroupConformance, Swizzle32) { expect_products<64, Swizzle::k32Bytes>(); }
TEST(WarpgroupConformance, NoSwizzle) { expect_products<64, Swizzle::kNone>(); }
TEST(WarpgroupConformance, Wide) {
  expect_products<128, Swizzle::k128Bytes>();
  expect_product<128, Major::kK, Major::kMn, Swizzle::k64Bytes>();
  expect_product<128, Major::kK, Major::kMn, Swizzle::kNone>();
  expect_product<256, Major::kK, Major::kK, Swizzle::k128Bytes>();
  expect_product<256, Major::kK, Major::kMn, Swizzle::k128Bytes>();
}
TEST(WarpgroupConformance, AInRegisters) {
  expect_product<64, Major::kK, Major::kK, Swizzle::k128Bytes, true>();
  expect_product<64, Major::kK, Major::kMn, Swizzle::k128Bytes, true>();
  expect_product<128, Major::kK, Major::kMn, Swizzle::k128Bytes, true>();
  expect_product<256, Major::kK, Major::kK, Swizzle::k128Bytes, true>();
}

// Operands that threads wrote into the swizzled layout; what orders them before the product can be left out.
enum class Missing { kNothing, kFence, kBarrier };

__global__ void __launch_bounds__(128) multiply_stored(const bfloat16* a, const bfloat16* b, float* out, Missing missing) {
  const uint32_t shared_a = shared_base(), shared_b = shared_a + kRows * kDepth * 2;
  const int thread = thread_index();
  for (int i = thread; i < kRows * kDepth; i += 128) {
    const int row = i / kDepth, k = i % kDepth;
    const uint32_t offset = row * 128 + ((k / 8) ^ (row % 8)) * 16 + k % 8 * 2;
    store_shared(shared_a + offset, load_global(&a[i].bits));
    store_shared(shared_b + offset, load_global(&b[i].bits));
  }
  if (missing != Missing::kFence) fence_for_copies();
  if (missing != Missing::kBarrier) sync_block();
  float d[32] = {};
  warpgroup_fence(d);
#pragma unroll
  for (int k = 0; k < 4; ++k)
    warpgroup_multiply<64, Major::kK, Major::kK>(d, matrix_descriptor(shared_a + k * 32, 16, 1024, Swizzle::k128Bytes),
                                                 matrix_descriptor(shared_b + k * 32, 16, 1024, Swizzle::k128Bytes), k > 0);
  warpgroup_commit();
  warpgroup_wait<0>(d);
  const int row = thread / 32 * 16 + lane_index() / 4, column = 2 * (thread % 4);
  for (int i = 0; i < 32; ++i) store_global(out + (row + 8 * (i / 2 % 2)) * 64 + 8 * (i / 4) + column + i % 2, d[i]);
}

void run_stored(Missing missing) {
  const auto a = small_integers(kRows * kDepth, 7), b = small_integers(kRows * kDepth, 8);
  const DeviceBuffer<bfloat16> device_a(a), device_b(b);
  const DeviceBuffer<float> out(kRows * kRows);
  launch_and_wait(multiply_stored, {.threads = 128, .shared_bytes = 2 * kRows * kDepth * 2}, device_a.data(), device_b.data(),
                  out.data(), missing);
  std::vector<float> want(kRows * kRows);
  for (size_t i = 0; i < kRows; ++i)
    for (size_t j = 0; j < kRows; ++j)
      for (size_t k = 0; k < kDepth; ++k)
        want[i * kRows + j] += static_cast<float>(a[i * kDepth + k]) * static_cast<float>(b[j * kDepth + k]);
  EXPECT_EQ(out.values(), want);
}

TEST(WarpgroupConformance, OperandsThatThreadsStored) {
  for_each_seed([] { run_stored(Missing::kNothing); });
}

#if defined(LS_SIMT)
TEST(WarpgroupConformance, SeesWhatIsMissing) {
  for_each_seed([] { EXPECT_THROW(run_stored(Missing::kFence), simt::KernelFault); });
  for_each_seed([] { EXPECT_THROW(run_stored(Missing::kBarrier), simt::KernelFault); });
}
#endif

}  // namespace
}  // namespace longspan::test
