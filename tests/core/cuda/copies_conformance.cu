// Asynchronous copies: cp.async with its groups and zeros, boxes of tensors of two to four dims with every swizzle, clipped
// at the tensor's edges, multicast to a cluster, and stored. What orders them can be left out, and is missed.
#include "core/kernels/cuda/ptx/barrier.h"
#include "core/kernels/cuda/ptx/bulk_copy.h"
#include "core/kernels/cuda/ptx/copy.h"
#include "core/kernels/cuda/ptx/memory.h"
#include "core/kernels/cuda/ptx/warp.h"
#include "tests/core/cuda/on_device.h"
#include "tests/core/cuda/tensor_map.h"

namespace longspan::test {
namespace {

using namespace LS_CUDA;

enum class Missing { kNothing, kWait, kBarrier, kFence };

// cp.async ------------------------------------------------------------------------------------------------------------

LS_DEVICE int source_bytes(int thread) { return thread % 5 * 4; }

__global__ void copy_rows(const uint32_t* in, uint32_t* out, Missing missing) {
  const uint32_t base = shared_base();
  const int thread = thread_index();
  copy_async(base + 16 * thread, in + 4 * thread);
  commit_copies();
  copy_async(base + 512 + 16 * thread, in + 4 * thread, source_bytes(thread));
  commit_copies();
  if (missing != Missing::kWait) wait_copies<1>();
  if (missing != Missing::kBarrier) sync_warp();
  for (int i = 0; i < 4; ++i) store_global(out + i * 32 + thread, load_shared<uint32_t>(base + 4 * (i * 32 + thread)));
  wait_copies<0>();
  sync_warp();
  for (int i = 0; i < 4; ++i)
    store_global(out + 128 + i * 32 + thread, load_shared<uint32_t>(base + 512 + 4 * (i * 32 + thread)));
}

void run_copy_rows(Missing missing) {
  std::vector<uint32_t> in(128), want(256);
  for (uint32_t k = 0; k < 128; ++k) {
    want[k] = in[k] = 1000 + k;
    want[128 + k] = k % 4 < k / 4 % 5 ? 1000 + k : 0;
  }
  const DeviceBuffer<uint32_t> device_in(in), out(256);
  launch_and_wait(copy_rows, {.shared_bytes = 1024}, device_in.data(), out.data(), missing);
  EXPECT_EQ(out.values(), want);
}

TEST(CopyConformance, GroupsAndZeros) {
  for_each_seed([] { run_copy_rows(Missing::kNothing); });
}

// Boxes into shared memory --------------------------------------------------------------------------------------------

constexpr uint64_t kDims[] = {100, 21, 5, 3};
constexpr uint64_t kPitch = 104;  // elements of a row, the padding included

__global__ void load_one_box(const __grid_constant__ TensorMap map, int rank, int x, int y, int z, int w, int num_bytes,
                             uint32_t* out) {
  const uint32_t base = shared_base(), arrived = base + (num_bytes + 15) / 16 * 16;
  const int thread = thread_index();
  if (thread == 0) {
    mbarrier_init(arrived, 1, "box");
    fence_mbarrier_init();
  }
  sync_block();
  if (thread == 0) {
    mbarrier_arrive_expect(arrived, num_bytes);
    if (rank == 2) load_box_2d(base, &map, arrived, x, y);
    if (rank == 3) load_box_3d(base, &map, arrived, x, y, z);
    if (rank == 4) load_box_4d(base, &map, arrived, x, y, z, w);
  }
  mbarrier_wait(arrived, 0);
  for (int i = thread; i < num_bytes / 4; i += num_threads()) store_global(out + i, load_shared<uint32_t>(base + 4 * i));
}

// Where byte `offset` of a box that starts at a multiple of 1024 lies.
size_t place_of(size_t offset, Swizzle swizzle) {
  const size_t line = offset / 128, lines = size_t{1} << static_cast<int>(swizzle);  // after which the pattern repeats
  const size_t piece = offset / 16 % 8 ^ line % lines;
  return line * 128 + piece * 16 + offset % 16;
}

void expect_box(int rank, Swizzle swizzle, std::vector<int> first) {
  std::vector<bfloat16> tensor(kPitch * kDims[1] * kDims[2] * kDims[3]);
  for (size_t i = 0; i < tensor.size(); ++i) tensor[i].bits = static_cast<uint16_t>(7 * i + 1);
  first.resize(4);
  const uint32_t width = swizzle == Swizzle::kNone ? 24 : 8u << static_cast<int>(swizzle);
  const uint32_t box[4] = {width, 8, rank > 2 ? 3u : 1u, rank > 3 ? 2u : 1u};
  const uint32_t rows = box[1] * box[2] * box[3];
  std::vector<uint64_t> dims(kDims, kDims + rank),
      strides = {kPitch * 2, kPitch * 2 * kDims[1], kPitch * 2 * kDims[1] * kDims[2]};
  strides.resize(static_cast<size_t>(rank - 1));
  std::vector<uint16_t> want(rows * width);
  for (uint32_t row = 0; row < rows; ++row) {
    for (uint32_t column = 0; column < width; ++column) {
      const int at[] = {first[0] + static_cast<int>(column), first[1] + static_cast<int>(row % box[1]),
                        first[2] + static_cast<int>(row / box[1] % box[2]), first[3] + static_cast<int>(row / box[1] / box[2])};
      bool inside = true;
      for (int d = 0; d < rank; ++d) inside &= at[d] >= 0 && static_cast<uint64_t>(at[d]) < kDims[d];
      size_t element = 0;
      for (int d = 3; d > 0; --d) element = element * kDims[d] + static_cast<size_t>(at[d]);
      want[place_of((row * width + column) * 2, swizzle) / 2] =
          inside ? tensor[element * kPitch + static_cast<size_t>(at[0])].bits : uint16_t{0};
    }
  }
  for_each_seed([&] {
    const DeviceBuffer<bfloat16> device(tensor);
    const DeviceBuffer<uint32_t> out(want.size() / 2);
    const int num_bytes = static_cast<int>(want.size() * 2);
    launch_and_wait(load_one_box, {.threads = 64, .shared_bytes = static_cast<unsigned>(num_bytes) + 32},
                    make_tensor_map(device.data(), dims, strides, box, swizzle), rank, first[0], first[1], first[2], first[3],
                    num_bytes, out.data());
    const std::vector<uint32_t> words = out.values();
    std::vector<uint16_t> got(want.size());
    std::memcpy(got.data(), words.data(), got.size() * 2);
    EXPECT_EQ(got, want);
  });
}

TEST(BoxConformance, OfTwoDimsClippedOnAllSides) {
  expect_box(2, Swizzle::kNone, {-5, 16});
  expect_box(2, Swizzle::kNone, {90, -3});
}
TEST(BoxConformance, Swizzles) {
  expect_box(2, Swizzle::k32Bytes, {10, 2});
  expect_box(2, Swizzle::k64Bytes, {80, 3});
  expect_box(2, Swizzle::k128Bytes, {50, 17});
}
TEST(BoxConformance, OfThreeAndFourDims) {
  expect_box(3, Swizzle::k128Bytes, {64, 18, 3});
  expect_box(4, Swizzle::k128Bytes, {40, -2, 3, 2});
  expect_box(4, Swizzle::k64Bytes, {40, 20, -1, -1});
}

// A box out of shared memory ------------------------------------------------------------------------------------------

__global__ void store_one_box(const __grid_constant__ TensorMap map, int x, int y, Missing missing) {
  const uint32_t base = shared_base();
  const int thread = thread_index();
  for (int i = thread; i < 512; i += 64) store_shared(base + 2 * i, static_cast<uint16_t>(i + 1));
  if (missing != Missing::kFence) fence_for_copies();
  if (missing != Missing::kBarrier) sync_block();
  if (thread == 0) {
    store_box_2d(&map, base, x, y);
    commit_bulk();
    if (missing != Missing::kWait) wait_bulk<0>();
  }
}

void run_store(int x, int y, Missing missing) {
  std::vector<bfloat16> tensor(kPitch * kDims[1]);
  std::vector<uint16_t> want(tensor.size());
  for (int row = 0; row < 8; ++row)
    for (int column = 0; column < 64; ++column)
      if (y + row < static_cast<int>(kDims[1]) && x + column < static_cast<int>(kDims[0]))
        want[static_cast<size_t>((y + row) * static_cast<int>(kPitch) + x + column)] =
            static_cast<uint16_t>(row * 64 + column + 1);
  const DeviceBuffer<bfloat16> device(tensor);
  const uint32_t box[] = {64, 8};
  launch_and_wait(store_one_box, {.threads = 64, .shared_bytes = 1024},
                  make_tensor_map(device.data(), {kDims[0], kDims[1]}, {kPitch * 2}, box, Swizzle::kNone), x, y, missing);
  std::vector<uint16_t> got;
  for (const bfloat16 value : device.values()) got.push_back(value.bits);
  EXPECT_EQ(got, want);
}

TEST(BoxConformance, StoresWhatIsInside) {
  for_each_seed([] {
    run_store(8, 3, Missing::kNothing);
    run_store(70, 16, Missing::kNothing);
  });
}

// Each of two blocks loads one half and sends it to both; the last wait is for arrivals of the other block, too.
__global__ void share_boxes(const __grid_constant__ TensorMap map, uint32_t* out) {
  const uint32_t base = shared_base(), arrived = base + 2048, done = arrived + 8;
  const int thread = thread_index();
  const uint32_t rank = cluster_rank();
  if (thread == 0) {
    mbarrier_init(arrived, 1, "arrived");
    mbarrier_init(done, 2, "done");
    fence_mbarrier_init();
  }
  cluster_arrive();
  cluster_wait();
  if (thread == 0) {
    mbarrier_arrive_expect(arrived, 2048);
    load_box_2d_multicast(base + rank * 1024, &map, arrived, 0, static_cast<int>(rank) * 8, 3);
  }
  mbarrier_wait(arrived, 0);
  for (int i = thread; i < 512; i += 64) store_global(out + block_index().x * 512 + i, load_shared<uint32_t>(base + 4 * i));
  sync_block();
  if (thread < 2) mbarrier_arrive_remote(cluster_address(done, static_cast<uint32_t>(thread)));
  mbarrier_wait(done, 0);
  cluster_arrive();
  cluster_wait();
}

TEST(BoxConformance, MulticastToACluster) {
  std::vector<bfloat16> tensor(64 * 16);
  for (size_t i = 0; i < tensor.size(); ++i) tensor[i].bits = static_cast<uint16_t>(i);
  std::vector<uint32_t> want(2048);
  for (uint32_t i = 0; i < 2048; ++i) want[i] = 2 * (i % 512) | (2 * (i % 512) + 1) << 16;
  for_each_seed([&] {
    const DeviceBuffer<bfloat16> device(tensor);
    const DeviceBuffer<uint32_t> out(2048);
    const uint32_t box[] = {64, 8};
    launch_and_wait(share_boxes, {.grid = {4, 1, 1}, .threads = 64, .shared_bytes = 2048 + 16, .cluster = 2},
                    make_tensor_map(device.data(), {64, 16}, {128}, box, Swizzle::kNone), out.data());
    EXPECT_EQ(out.values(), want);
  });
}

#if defined(LS_SIMT)
TEST(CopyConformance, SeesWhatIsMissing) {
  for (const Missing missing : {Missing::kWait, Missing::kBarrier})
    for_each_seed([&] { EXPECT_THROW(run_copy_rows(missing), simt::KernelFault); });
  for (const Missing missing : {Missing::kFence, Missing::kBarrier, Missing::kWait})
    for_each_seed([&] { EXPECT_THROW(run_store(8, 3, missing), simt::KernelFault); });
}
#endif

}  // namespace
}  // namespace longspan::test
