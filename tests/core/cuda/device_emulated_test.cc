// core/runtime on a device whose memory the host cannot touch, in the emulator: streams, events, memory, contexts.
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <stdexcept>

#include "core/kernels/elementwise.h"
#include "core/runtime/cuda.h"
#include "tests/core/expect_error.h"
#include "tests/support/emulated_device.h"
#include "tests/support/simt/global_memory.h"

namespace longspan::test {
namespace {

using namespace std::chrono_literals;
constexpr auto kTag = MemoryTag::kWorkspace;

std::shared_ptr<MemoryResource> device_memory() {
  return std::make_shared<simt::GlobalMemory>(simt::HostAccess::kRefused);
}

Tensor counting(const Context& context, int64_t n) {
  const Tensor t = context.host().empty({n}, DType::kFloat32);
  std::iota(t.data<float>(), t.data<float>() + n, 1.0f);
  return t;
}

TEST(EmulatedDevice, KillsAHostThatTouchesItsMemory) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  const Context context = emulated_device_context(DType::kFloat32);
  const Tensor t = context.zeros({5000}, DType::kFloat32);
  EXPECT_DEATH(t.data<float>()[4999] = 1, "the host touched 0x[0-9a-f]+, which is memory of the emulated device");
  const auto read = [](const Tensor& of) { EXPECT_EQ(of.data<float>()[0], 0); };
  EXPECT_DEATH(read(t), "the host touched");
  const Tensor x = context.to_device(counting(context, 5000));
  context.kernels<Elementwise>().accumulate(context, x, t);
  EXPECT_DEATH(read(t), "the host touched") << "open to a launch is open to the host afterwards";
}

TEST(EmulatedDevice, TensorsGoThereAndBack) {
  const Context context = emulated_device_context(DType::kFloat32);
  const Tensor there = context.to_device(counting(context, 1000));
  const Tensor twice = context.empty({1000}, DType::kFloat32), none = context.zeros({0}, DType::kFloat32);
  context.copy(there, twice);
  context.kernels<Elementwise>().accumulate(context, there, twice);
  EXPECT_EQ(context.to_host(none).num_elements(), 0);
  const Tensor back = context.to_host(twice.slice(0, 10, 20));
  for (int64_t i = 0; i < 10; ++i) EXPECT_EQ(back.data<float>()[i], 2 * static_cast<float>(i + 11));
  context.clear(twice.slice(0, 0, 999));
  EXPECT_EQ(context.to_host(twice).data<float>()[998], 0);
  EXPECT_EQ(context.to_host(twice).data<float>()[999], 2000);
  context.write_from_host(twice, [](const Tensor& t) { std::iota(t.data<float>(), t.data<float>() + 1000, 5.0f); });
  EXPECT_EQ(context.to_host(twice).data<float>()[7], 12);
}

TEST(EmulatedDevice, RowsAreCopiedThere) {
  const Context context = emulated_device_context(DType::kFloat32);
  const Tensor rows = context.to_device(counting(context, 12).reshape({6, 2}));
  const Tensor wide = context.zeros({3, 5}, DType::kFloat32);
  context.copy_rows(rows.slice(0, 1, 6).every(0, 2), wide.slice(1, 2, 4));
  const Tensor back = context.to_host(wide);
  const float want[] = {0, 0, 3, 4, 0, 0, 0, 7, 8, 0, 0, 0, 11, 12, 0};
  for (int64_t i = 0; i < 15; ++i) EXPECT_EQ(back.data<float>()[i], want[i]) << i;
}

TEST(EmulatedDevice, CopiesToTheHostArriveWhenTheyAreWaitedFor) {
  const auto stream = make_emulated_stream();
  const auto memory = device_memory();
  void* there = memory->allocate(64, *stream, kTag);
  uint64_t out = 7, back = 7;
  stream->copy(there, &out, sizeof out);
  for (const bool by_event : {false, true}) {
    stream->copy(&back, there, sizeof back);
    EXPECT_NE(back, 7u) << "neither what was there nor what is to come";
    by_event ? stream->record().wait(1ms) : stream->synchronize();
    EXPECT_EQ(back, 7u);
  }
  EXPECT_TRUE(stream->on_device());
  expect_error(ErrorKind::kInternal, {"work of the host"}, [&] { stream->run([] {}); });
  memory->deallocate(there, 64, *stream, kTag);
}

TEST(EmulatedDevice, FindsPinnedMemoryThatChangesUnderACopy) {
  const auto stream = make_emulated_stream();
  const auto memory = device_memory(), pinned = make_emulated_pinned_memory();
  void* there = memory->allocate(64, *stream, kTag);
  auto* here = static_cast<uint8_t*>(pinned->allocate(64, *stream, kTag));
  std::memset(here, 1, 64);
  stream->copy(there, here, 64);
  stream->synchronize();
  here[3] = 2;
  stream->copy(there, here, 64);
  here[3] = 3;
  EXPECT_THROW(stream->synchronize(), std::logic_error);
  pinned->deallocate(here, 64, *stream, kTag);
  memory->deallocate(there, 64, *stream, kTag);
}

TEST(Caching, ABlockGoesToItsOwnStreamAtOnceAndToOthersOnceThatIsDone) {
  const auto first = make_emulated_stream(), second = make_emulated_stream();
  CachingResource memory(device_memory());
  void* block = memory.allocate(1000, *first, kTag);
  first->clear(block, 1000);
  memory.deallocate(block, 1000, *first, kTag);
  void* other = memory.allocate(1000, *second, kTag);
  EXPECT_NE(other, block) << "the first stream may still use it";
  EXPECT_EQ(memory.allocate(1000, *first, kTag), block);
  first->clear(block, 1000);
  memory.deallocate(block, 1000, *first, kTag);
  first->synchronize();
  EXPECT_EQ(memory.allocate(1000, *second, kTag), block);
  memory.deallocate(block, 1000, *second, kTag);
  memory.deallocate(other, 1000, *second, kTag);
}

TEST(Caching, ABlockOfTheHostWaitsForItsStreamToo) {
  const auto stream = make_emulated_stream();
  const auto device = device_memory();
  CachingResource pinned(make_emulated_pinned_memory(), Reuse::kWhenDone);
  void* there = device->allocate(64, *stream, kTag);
  void* block = pinned.allocate(64, *stream, kTag);
  std::memset(block, 1, 64);
  stream->copy(there, block, 64);
  pinned.deallocate(block, 64, *stream, kTag);
  void* next = pinned.allocate(64, *stream, kTag);
  EXPECT_NE(next, block) << "the copy may still read it";
  std::memset(next, 2, 64);
  stream->synchronize();
  EXPECT_EQ(pinned.allocate(64, *stream, kTag), block);
  pinned.deallocate(block, 64, *stream, kTag);
  pinned.deallocate(next, 64, *stream, kTag);
  device->deallocate(there, 64, *stream, kTag);
}

TEST(Caching, WaitsForTheStreamBeforeItGivesBlocksBack) {
  const auto stream = make_emulated_stream();
  uint64_t back = 0;
  {
    CachingResource memory(device_memory());
    void* block = memory.allocate(64, *stream, kTag);
    stream->clear(block, 64);
    back = 9;
    stream->copy(&back, block, sizeof back);
    memory.deallocate(block, 64, *stream, kTag);
  }
  EXPECT_EQ(back, 0u) << "the last copy from the block was waited for";
}

TEST(DeviceContext, NeedsTheStreamAndTheMemoryOfItsDevice) {
  Context::Options options;
  options.device = {.type = DeviceType::kCuda, .ordinal = 0};
  expect_error(ErrorKind::kInternal, {"stream is not of its device"}, [&] { Context{options}; });
  options.stream = make_emulated_stream();
  expect_error(ErrorKind::kInternal, {"needs its memory and the host's"}, [&] { Context{options}; });
  options.device = {};
  expect_error(ErrorKind::kInternal, {"stream is not of its device"}, [&] { Context{options}; });
}

TEST(DeviceContext, OfACpuCopiesNothing) {
  const Context context{Context::Options{}};
  const Tensor t = counting(context, 3);
  EXPECT_EQ(&context.host(), &context);
  EXPECT_EQ(context.to_device(t).raw(), t.raw());
  EXPECT_EQ(context.to_host(t).raw(), t.raw());
  context.write_from_host(t, [&](const Tensor& written) { EXPECT_EQ(written.raw(), t.raw()); });
}

TEST(CudaDevices, AreRefusedOrThere) {
  if (num_cuda_devices() > 0) GTEST_SKIP() << "this machine has some";
  EXPECT_THROW(make_cuda_stream(0), Error);
  EXPECT_THROW(make_cuda_memory(0), Error);
}

}  // namespace
}  // namespace longspan::test
