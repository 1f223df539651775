// Clocks that run apart are laid on one line; transfers are measured from the post to the moment their end is seen.
#include "parallel/comm/reference_clock.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "parallel/comm/backends.h"

namespace longspan {
namespace {

int64_t true_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

TEST(ReferenceClock, FindsHowFarTheClocksAreApart) {
  for (const int num_ranks : {1, 2, 3}) {
    run_in_process(num_ranks, [](Communicator& world) {
      const Context context{Context::Options{}};
      const int64_t shift_ns = int64_t{7'000'000'000} * world.rank() * (world.rank() % 2 ? 1 : -1);
      const ClockReading reading = read_reference_clock(context, world, [&] { return true_ns() + shift_ns; });
      EXPECT_LE(std::abs(reading.ahead_ns + shift_ns), reading.uncertainty_ns);
      EXPECT_LT(reading.uncertainty_ns, 1'000'000'000);
      EXPECT_EQ(reading.uncertainty_ns == 0, world.rank() == 0);
    });
  }
}

TEST(ReferenceClock, TakesTheQuickestRoundTrip) {
  run_in_process(2, [](Communicator& world) {
    const Context context{Context::Options{}};
    int calls = 0;
    // Every second round trip is slow on its way there, which would shift the middle by 50 ms.
    const ClockReading reading = read_reference_clock(context, world, [&] {
      const int64_t now = true_ns();
      if (world.rank() == 1 && calls++ % 4 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(100));
      return now;
    });
    EXPECT_LT(std::abs(reading.ahead_ns), 40'000'000);
  });
}

TEST(ReferenceClock, FollowsADrift) {
  const ReferenceClock clock({.at_ns = 1000, .ahead_ns = 100, .uncertainty_ns = 3},
                             {.at_ns = 3000, .ahead_ns = 300, .uncertainty_ns = 2});
  EXPECT_EQ(clock.from_local(1000), 1100);
  EXPECT_EQ(clock.from_local(2000), 2200);
  EXPECT_EQ(clock.from_local(3000), 3300);
  EXPECT_EQ(clock.uncertainty_ns(), 3);
  const ReferenceClock same({.at_ns = 5, .ahead_ns = 10}, {.at_ns = 5, .ahead_ns = 10});
  EXPECT_EQ(same.from_local(20), 30);
}

TEST(TracedTransfer, LastsFromThePostUntilItsEndIsSeen) {
  using std::chrono::milliseconds;
  run_in_process(2, [](Communicator& world) {
    Context::Options options;
    options.tracer = std::make_shared<Tracer>();
    const Context context(options);
    Tracer& tracer = *options.tracer;
    const int peer = 1 - world.rank();
    const Tensor out = context.zeros({4}, DType::kInt64), in = context.zeros({4}, DType::kInt64);
    tracer.start_recording(16);
    int64_t posted[2], polled[2];
    for (const int i : {0, 1}) {
      posted[i] = tracer.now_ns();
      Work work = world.send_recv(context.stream(), {.send = out, .to = peer, .receive = in, .from = peer});
      world.barrier(context.stream());  // both have posted
      std::this_thread::sleep_for(milliseconds(100));
      if (i == 0) world.progress();
      polled[i] = tracer.now_ns();
      work.wait();
    }
    std::vector<TraceEvent> transfers;
    for (const TraceEvent& event : tracer.stop_recording()) {
      if (event.kind == TraceEvent::Kind::kTransfer) transfers.push_back(event);
    }
    ASSERT_EQ(transfers.size(), 2u);
    for (const size_t i : {0u, 1u}) {
      EXPECT_EQ(transfers[i].args.to, peer);
      EXPECT_EQ(transfers[i].args.bytes, 32);
      EXPECT_GE(transfers[i].begin_ns, posted[i]);
      EXPECT_GE(transfers[i].end_ns - transfers[i].begin_ns, 20'000'000);
    }
    EXPECT_LE(transfers[0].end_ns, polled[0]) << "progress sees the end";
    EXPECT_GE(transfers[1].end_ns, polled[1]) << "without it, the wait does";
    const TimeBreakdown times = tracer.take();
    EXPECT_GE(times.hidden_communication_seconds, 0.04);
  });
}

}  // namespace
}  // namespace longspan
