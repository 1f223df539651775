// ldmatrix, stmatrix and mma.sync do what the PTX ISA says (section 9.7.14), on a GPU as in the emulator.
#include "core/kernels/cuda/ptx/matrix.h"

#include "core/kernels/cuda/ptx/memory.h"
#include "core/kernels/cuda/ptx/warp.h"
#include "tests/core/cuda/on_device.h"

namespace longspan::test {
namespace {

using namespace LS_CUDA;

constexpr int row_for(int lane) { return lane * 5 % 32; }  // rows in an order of their own

template <bool kTransposed>
__global__ void load_fragments(uint32_t* out) {
  const uint32_t base = shared_base();
  const int lane = lane_index();
  for (int i = 0; i < 8; ++i) store_shared(base + 2 * (lane * 8 + i), static_cast<uint16_t>(lane * 8 + i));
  sync_warp();
  uint32_t fragment[4];
  const uint32_t address = base + 16 * row_for(lane);
  if constexpr (kTransposed) load_matrices_transposed(fragment, address);
  else load_matrices(fragment, address);
  for (int i = 0; i < 4; ++i) store_global(out + lane * 4 + i, fragment[i]);
}

template <bool kTransposed>
void expect_loads() {
  for_each_seed([] {
    const DeviceBuffer<uint32_t> out(128);
    launch_and_wait(load_fragments<kTransposed>, {.shared_bytes = 512}, out.data());
    std::vector<uint32_t> want(128);
    for (int lane = 0; lane < 32; ++lane) {
      for (int i = 0; i < 4; ++i) {
        for (int j = 0; j < 2; ++j) {
          const int r = kTransposed ? 2 * (lane % 4) + j : lane / 4, c = kTransposed ? lane / 4 : 2 * (lane % 4) + j;
          want[static_cast<size_t>(lane * 4 + i)] |= static_cast<uint32_t>(row_for(i * 8 + r) * 8 + c) << (16 * j);
        }
      }
    }
    EXPECT_EQ(out.values(), want);
  });
}

TEST(MatrixConformance, Loads) { expect_loads<false>(); }
TEST(MatrixConformance, LoadsTransposed) { expect_loads<true>(); }

template <bool kTransposed>
__global__ void store_fragments(uint32_t* out) {
  const uint32_t base = shared_base();
  const int lane = lane_index();
  uint32_t fragment[4];
  for (int i = 0; i < 4; ++i) fragment[i] = static_cast<uint32_t>(2 * (lane * 4 + i) | (2 * (lane * 4 + i) + 1) << 16);
  const uint32_t address = base + 16 * row_for(lane);
  if constexpr (kTransposed) store_matrices_transposed(address, fragment);
  else store_matrices(address, fragment);
  sync_warp();
  for (int i = 0; i < 8; ++i) store_global<uint32_t>(out + lane * 8 + i, load_shared<uint16_t>(base + 2 * (lane * 8 + i)));
}

template <bool kTransposed>
void expect_stores() {
  for_each_seed([] {
    const DeviceBuffer<uint32_t> out(256);
    launch_and_wait(store_fragments<kTransposed>, {.shared_bytes = 512}, out.data());
    std::vector<uint32_t> want(256);
    for (int i = 0; i < 4; ++i) {
      for (int r = 0; r < 8; ++r) {
        for (int c = 0; c < 8; ++c) {
          const int of_row = kTransposed ? c : r, of_column = kTransposed ? r : c, lane = of_row * 4 + of_column / 2;
          want[static_cast<size_t>(row_for(i * 8 + r) * 8 + c)] = static_cast<uint32_t>(2 * (lane * 4 + i) + of_column % 2);
        }
      }
    }
    EXPECT_EQ(out.values(), want);
  });
}

TEST(MatrixConformance, Stores) { expect_stores<false>(); }
TEST(MatrixConformance, StoresTransposed) { expect_stores<true>(); }

LS_DEVICE uint32_t pair(const bfloat16* first, int64_t to_second) {
  return load_global(&first->bits) | static_cast<uint32_t>(load_global(&first[to_second].bits)) << 16;
}

// a [16, 16], b [16, 8], out [16, 8], row-major
__global__ void multiply(const bfloat16* a, const bfloat16* b, float* out) {
  const int lane = lane_index(), group = lane / 4, column = 2 * (lane % 4);
  uint32_t fragment[4];
  for (int i = 0; i < 4; ++i) fragment[i] = pair(a + (group + 8 * (i % 2)) * 16 + column + 8 * (i / 2), 1);
  float d[4] = {1, 2, 3, 4};
  multiply_16x8x16(d, fragment, pair(b + column * 8 + group, 8), pair(b + (column + 8) * 8 + group, 8));
  for (int i = 0; i < 4; ++i) store_global(out + (group + 8 * (i / 2)) * 8 + column + i % 2, d[i]);
}

TEST(MatrixConformance, Multiplies) {
  for_each_seed([] {
    const auto a = small_integers(256, 3), b = small_integers(128, 4);
    const DeviceBuffer<bfloat16> device_a(a), device_b(b);
    const DeviceBuffer<float> out(128);
    launch_and_wait(multiply, {}, device_a.data(), device_b.data(), out.data());
    std::vector<float> want(128);
    for (size_t i = 0; i < 16; ++i) {
      for (size_t j = 0; j < 8; ++j) {
        float sum = static_cast<float>(1 + j % 2 + 2 * (i / 8));
        for (size_t k = 0; k < 16; ++k) sum += static_cast<float>(a[i * 16 + k]) * static_cast<float>(b[k * 8 + j]);
        want[i * 8 + j] = sum;
      }
    }
    EXPECT_EQ(out.values(), want);
  });
}

}  // namespace
}  // namespace longspan::test
