// What threads do together: barriers of all kinds, shuffles, votes, and the order that atomics make between blocks.
#include "core/kernels/cuda/ptx/atomic.h"
#include "core/kernels/cuda/ptx/barrier.h"
#include "core/kernels/cuda/ptx/math.h"
#include "core/kernels/cuda/ptx/memory.h"
#include "core/kernels/cuda/ptx/warp.h"
#include "tests/core/cuda/on_device.h"

namespace longspan::test {
namespace {

using namespace LS_CUDA;

__global__ void ask_for_phases(uint32_t* out) {
  const uint32_t barrier = shared_base();
  if (thread_index() != 0) return;
  mbarrier_init(barrier, 3, "phases");
  fence_mbarrier_init();
  int next = 0;
  const auto ask = [&](uint32_t parity) {
    // It may say no for no reason, never yes.
    bool passed = mbarrier_try_wait(barrier, parity);
    if (passed) passed = mbarrier_try_wait(barrier, parity);
    store_global<uint32_t>(out + next++, passed);
  };
  const auto arrive = [&](int times) {
    for (int i = 0; i < times; ++i) mbarrier_arrive(barrier);
  };
  ask(0), ask(1);
  arrive(2);
  ask(0);
  arrive(1);
  ask(0), ask(1);
  arrive(3);
  ask(1), ask(0);
}

TEST(BarrierConformance, PhasesOfAnMbarrier) {
  for_each_seed([] {
    const DeviceBuffer<uint32_t> out(7);
    launch_and_wait(ask_for_phases, {.shared_bytes = 64}, out.data());
    EXPECT_EQ(out.values(), (std::vector<uint32_t>{0, 1, 0, 1, 0, 1, 0}));
  });
}

enum class Missing { kNothing, kArrival, kWait };

// Two warps produce, two consume, by two named barriers.
__global__ void pass_values(uint32_t* out, Missing missing) {
  const uint32_t base = shared_base();
  const int thread = thread_index();
  for (int i = 0; i < 8; ++i) {
    if (thread < 64) {
      if (i > 0) sync_named(2, 128);
      store_shared<uint32_t>(base + 4 * thread, thread * 100 + i);
      if (missing != Missing::kArrival || i % 2 == 1) arrive_named(1, 128);
    } else {
      if (missing != Missing::kWait) sync_named(1, 128);
      store_global(out + i * 64 + thread - 64, load_shared<uint32_t>(base + 4 * (thread - 64)));
      if (missing == Missing::kWait) sync_named(1, 128);
      if (i < 7) arrive_named(2, 128);
    }
  }
}

void run_pass_values(Missing missing) {
  const DeviceBuffer<uint32_t> out(512);
  launch_and_wait(pass_values, {.threads = 128, .shared_bytes = 256}, out.data(), missing);
  std::vector<uint32_t> want(512);
  for (uint32_t i = 0; i < 512; ++i) want[i] = i % 64 * 100 + i / 64;
  EXPECT_EQ(out.values(), want);
}

TEST(BarrierConformance, NamedBarriers) {
  for_each_seed([] { run_pass_values(Missing::kNothing); });
}

__global__ void exchange(uint32_t* out) {
  const int lane = lane_index();
  const auto value = static_cast<uint32_t>(100 + lane);
  store_global(out + lane, shuffle(kAllLanes, value, 5));
  store_global(out + 32 + lane, shuffle_xor(kAllLanes, value, 3));
  store_global(out + 64 + lane, ballot(kAllLanes, lane % 3 == 0));
  store_global(out + 96 + lane, ballot(kAllLanes, elect_one()));
  store_global(out + 128 + lane, lane < 16 ? shuffle_xor(0xffffu, value, 1) : 0);
  store_global(out + 160 + lane, static_cast<uint32_t>(sum_over_warp(static_cast<float>(lane))));
  store_global(out + 192 + lane, static_cast<uint32_t>(max_over_warp(static_cast<float>(lane * 7 % 32))));
}

TEST(WarpConformance, ShufflesAndVotes) {
  for_each_seed([] {
    const DeviceBuffer<uint32_t> out(224);
    launch_and_wait(exchange, {}, out.data());
    const std::vector<uint32_t> got = out.values();
    uint32_t thirds = 0;
    for (uint32_t lane = 0; lane < 32; lane += 3) thirds |= 1u << lane;
    EXPECT_EQ(std::popcount(got[96]), 1);
    for (uint32_t lane = 0; lane < 32; ++lane) {
      EXPECT_EQ(got[lane], 105u);
      EXPECT_EQ(got[32 + lane], 100 + (lane ^ 3));
      EXPECT_EQ(got[64 + lane], thirds);
      EXPECT_EQ(got[96 + lane], got[96]);
      EXPECT_EQ(got[128 + lane], lane < 16 ? 100 + (lane ^ 1) : 0u);
      EXPECT_EQ(got[160 + lane], 496u);
      EXPECT_EQ(got[192 + lane], 31u);
    }
  });
}

__global__ void convert(const float* in, uint32_t* pairs, float* powers, float* logarithms) {
  const int lane = lane_index();
  const float value = load_global(in + lane);
  store_global(pairs + lane, pack_bfloat16(value, load_global(in + (lane + 1) % 32)));
  store_global(powers + lane, exp2_approximate(value));
  store_global(logarithms + lane, log2_approximate(value));
}

void expect_about(float got, double want, double relative, double absolute, float of) {
  if (std::isnan(want)) {
    EXPECT_TRUE(std::isnan(got)) << of;
  } else if (std::isinf(want)) {
    EXPECT_EQ(got, want) << of;
  } else {
    EXPECT_NEAR(got, want, std::abs(want) * relative + absolute) << of;
  }
}

TEST(MathConformance, ConversionsPowersAndLogarithms) {
  constexpr float kInf = std::numeric_limits<float>::infinity(), kSmallest = std::numeric_limits<float>::min();
  const std::vector<float> in = {0,       -0.f,     1,       -1,   1.00390625f, 1.01171875f, 3.14159265f, 1e-40f,
                                 -1e-40f, 1e38f,    3.4e38f, kInf, -kInf,       NAN,         -200,        -126,
                                 -126.5f, -149,     127.9f,  128,  130,         0.5f,        -0.5f,       1e-6f,
                                 -3.3f,   7.7f,     -20.25f, 65504, 1e-38f,     2.5f,        -2.5f,       100};
  const DeviceBuffer<float> device_in(in), powers(32), logarithms(32);
  const DeviceBuffer<uint32_t> pairs(32);
  for_each_seed([&] { launch_and_wait(convert, {}, device_in.data(), pairs.data(), powers.data(), logarithms.data()); }, 1);
  const auto bits = [](float value) { return std::isnan(value) ? 0x7fffu : bfloat16(value).bits; };
  for (size_t i = 0; i < 32; ++i) {
    EXPECT_EQ(pairs.values()[i], bits(in[i]) | static_cast<uint32_t>(bits(in[(i + 1) % 32])) << 16) << in[i];
    const double power = std::exp2(static_cast<double>(in[i])), most = std::exp2(128.0);
    expect_about(powers.values()[i], power >= most ? kInf : power < kSmallest ? 0.0 : power, 3e-7, 0, in[i]);
    const float flushed = std::abs(in[i]) < kSmallest ? 0.0f : in[i];
    expect_about(logarithms.values()[i], std::log2(static_cast<double>(flushed)), 3e-7, 3e-7, in[i]);
  }
}

// Each block writes its part, and the last to finish adds all up.
__global__ void sum_by_the_last(float* parts, uint32_t* finished, float* sum, bool fenced) {
  const uint32_t last = shared_base();
  const int thread = thread_index(), blocks = static_cast<int>(num_blocks().x);
  store_global(parts + block_index().x * 32 + thread, static_cast<float>(block_index().x + 1));
  sync_block();
  if (thread == 0) {
    if (fenced) fence_device();
    store_shared<uint32_t>(last, add_relaxed(finished, 1) + 1 == static_cast<uint32_t>(blocks));
    if (fenced) fence_device();
  }
  sync_block();
  if (!load_shared<uint32_t>(last)) return;
  float total = 0;
  for (int i = 0; i < blocks; ++i) total += load_global(parts + i * 32 + thread);
  store_global(sum + thread, total);
}

void run_sum_by_the_last(bool fenced) {
  const DeviceBuffer<float> parts(4 * 32), sum(32);
  const DeviceBuffer<uint32_t> finished(std::vector<uint32_t>{0});
  launch_and_wait(sum_by_the_last, {.grid = {4, 1, 1}, .shared_bytes = 16}, parts.data(), finished.data(), sum.data(), fenced);
  EXPECT_EQ(sum.values(), std::vector<float>(32, 10.0f));
}

TEST(AtomicConformance, FencesOrderRelaxedAtomics) {
  for_each_seed([] { run_sum_by_the_last(true); });
}

// Blocks take turns by a counter that is released and acquired; the last turn needs all earlier ones.
__global__ void take_turns(float* shared_sum, uint32_t* turn, bool acquires) {
  const unsigned mine = block_index().x;
  if (acquires)
    while (load_acquire(turn) != mine) {}
  const int thread = thread_index();
  sync_warp();
  store_global(shared_sum + thread, load_global(shared_sum + thread) * 2 + static_cast<float>(mine));
  sync_warp();
  if (thread == 0) add_release(turn, 1);
}

void run_take_turns(bool acquires) {
  const DeviceBuffer<float> sum(std::vector<float>(32, 0.0f));
  const DeviceBuffer<uint32_t> turn(std::vector<uint32_t>{0});
  launch_and_wait(take_turns, {.grid = {4, 1, 1}}, sum.data(), turn.data(), acquires);
  EXPECT_EQ(sum.values(), std::vector<float>(32, 11.0f));
}

TEST(AtomicConformance, ReleaseAndAcquireOrderBlocks) {
  for_each_seed([] {
#if defined(LS_SIMT)
    simt::options().coresident = 4;  // who waits for a turn needs the others to run
#endif
    run_take_turns(true);
  });
}

#if defined(LS_SIMT)
TEST(BarrierConformance, SeesWhatIsMissing) {
  for (const Missing missing : {Missing::kArrival, Missing::kWait})
    for_each_seed([&] { EXPECT_THROW(run_pass_values(missing), simt::KernelFault); });
}
TEST(AtomicConformance, SeesWhatIsMissing) {
  for_each_seed([] { EXPECT_THROW(run_sum_by_the_last(false), simt::KernelFault); });
  for_each_seed([] { EXPECT_THROW(run_take_turns(false), simt::KernelFault); });
}
#endif

}  // namespace
}  // namespace longspan::test
