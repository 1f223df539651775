// core/runtime/trace.h on a clock that the test sets.
#include <gtest/gtest.h>

#include <thread>

#include "core/runtime/context.h"
#include "tests/core/expect_error.h"

namespace longspan {
namespace {

using C = TimeCategory;

struct Timed {
  int64_t now = 1000;
  std::shared_ptr<Tracer> tracer =
      std::make_shared<Tracer>(Tracer::Options{.memory = nullptr, .clock = [this] { return now; }});

  void pass(double seconds) { now += static_cast<int64_t>(1e9 * seconds); }
  TraceRange range(C category, const char* name, const TraceArgs& args = {}) {
    return TraceRange(tracer.get(), category, name, args);
  }
};

TEST(Tracer, AnInnerRangePausesTheOuter) {
  Timed t;
  {
    const TraceRange step = t.range(C::kNone, "step");
    t.pass(1);
    {
      const TraceRange forward = t.range(C::kCompute, "forward");
      t.pass(2);
      {
        const TraceRange wait = t.range(C::kCommunication, "wait");
        t.pass(4);
      }
      t.pass(8);
    }
    const TraceRange data = t.range(C::kData, "data");
    t.pass(16);
  }
  const TimeBreakdown times = t.tracer->take();
  EXPECT_DOUBLE_EQ(times[C::kNone], 1);
  EXPECT_DOUBLE_EQ(times[C::kCompute], 10);
  EXPECT_DOUBLE_EQ(times[C::kCommunication], 4);
  EXPECT_DOUBLE_EQ(times[C::kData], 16);
  EXPECT_DOUBLE_EQ(times[C::kCheckpoint] + times[C::kEvaluation] + times.hidden_communication_seconds, 0);
  EXPECT_DOUBLE_EQ(t.tracer->take()[C::kCompute], 0) << "what was taken is gone";
}

TEST(Tracer, CheckpointsAndEvaluationsKeepWhatIsInsideThem) {
  for (const C whole : {C::kCheckpoint, C::kEvaluation}) {
    Timed t;
    {
      const TraceRange outer = t.range(whole, "whole");
      t.pass(1);
      const TraceRange inner = t.range(C::kCompute, "forward");
      t.pass(2);
      const TraceRange barrier = t.range(C::kCommunication, "barrier");
      t.pass(4);
    }
    const TimeBreakdown times = t.tracer->take();
    EXPECT_DOUBLE_EQ(times[whole], 7);
    EXPECT_DOUBLE_EQ(times[C::kCompute] + times[C::kCommunication], 0);
  }
}

TEST(Tracer, HiddenIsWhatIsUnderWayWhileNobodyWaits) {
  Timed t;
  {
    const TraceRange forward = t.range(C::kCompute, "forward");
    t.pass(1);
    const TraceEvent first = t.tracer->begin_transfer({});
    t.pass(2);  // hidden
    const TraceEvent second = t.tracer->begin_transfer({});
    t.pass(4);  // hidden, once
    t.tracer->end_transfer(first);
    t.pass(8);  // hidden
    {
      const TraceRange wait = t.range(C::kCommunication, "wait");
      t.pass(16);  // exposed
      t.tracer->end_transfer(second);
      t.pass(32);
    }
    t.pass(64);
  }
  const TimeBreakdown times = t.tracer->take();
  EXPECT_DOUBLE_EQ(times.hidden_communication_seconds, 14);
  EXPECT_DOUBLE_EQ(times[C::kCommunication], 48);
  EXPECT_DOUBLE_EQ(times[C::kCompute], 1 + 14 + 64);
}

TEST(Tracer, RecordsRangesAndTransfersWithWhatTheyAreAbout) {
  Timed t;
  { const TraceRange before = t.range(C::kCompute, "before"); }
  const TraceRange step = t.range(C::kNone, "step", {.step = 3});  // began before the recording: left out
  t.pass(1);
  t.tracer->start_recording(8);
  {
    const TraceRange block = t.range(C::kCompute, "forward", {.block = 5, .layer = 4});
    t.pass(1);
    TraceEvent transfer;
    {
      const TraceRange post = t.range(C::kCommunication, "ring transfer", {.hop = 2});
      transfer = t.tracer->begin_transfer({.to = 1, .from = 0, .bytes = 64});
    }
    t.pass(1);
    t.tracer->end_transfer(transfer);
  }
  const auto events = t.tracer->stop_recording();
  ASSERT_EQ(events.size(), 3u);  // in the order in which they ended
  EXPECT_STREQ(events[0].name, "ring transfer");
  EXPECT_EQ(events[0].kind, TraceEvent::Kind::kRange);
  EXPECT_EQ(events[1].kind, TraceEvent::Kind::kTransfer);
  EXPECT_STREQ(events[1].name, "ring transfer");
  EXPECT_EQ(events[1].args.step, 3);
  EXPECT_EQ(events[1].args.layer, 4);
  EXPECT_EQ(events[1].args.block, 5);
  EXPECT_EQ(events[1].args.hop, 2);
  EXPECT_EQ(events[1].args.bytes, 64);
  EXPECT_EQ(events[1].end_ns - events[1].begin_ns, 1'000'000'000);
  EXPECT_STREQ(events[2].name, "forward");
  EXPECT_EQ(events[2].args.hop, -1);
  EXPECT_EQ(events[2].args.to, -1) << "whom a transfer goes to is its own";
  EXPECT_EQ(events[2].end_ns - events[2].begin_ns, 2'000'000'000);
}

TEST(Tracer, KeepsNoMoreThanItsCapacityAndAllocatesNothingMeanwhile) {
  const auto memory = std::make_shared<StatisticsResource>(std::make_shared<HostResource>());
  Tracer tracer({.memory = memory, .clock = nullptr});
  tracer.start_recording(10);
  const uint64_t allocations = memory->statistics().num_allocations;
  EXPECT_EQ(memory->statistics().current_bytes, 10 * sizeof(TraceEvent));
  for (int i = 0; i < 25; ++i) {
    const TraceRange range(&tracer, C::kCompute, "range");
  }
  EXPECT_EQ(memory->statistics().num_allocations, allocations);
  EXPECT_EQ(tracer.num_lost(), 15u);
  test::expect_error(ErrorKind::kInternal, {"10"}, [&] { tracer.start_recording(5); });
  EXPECT_EQ(tracer.stop_recording().size(), 10u);
  EXPECT_EQ(memory->statistics().current_bytes, 0u);
  { const TraceRange range(&tracer, C::kCompute, "not recorded"); }
  tracer.start_recording(10);
  EXPECT_EQ(tracer.num_lost(), 0u);
  EXPECT_TRUE(tracer.stop_recording().empty());
}

TEST(Tracer, IsTheContextsAndMayBeAbsent) {
  const Context without{Context::Options{}};
  EXPECT_EQ(without.tracer(), nullptr);
  { const TraceRange range(without.tracer(), C::kCompute, "nothing"); }
  Context::Options options;
  options.tracer = std::make_shared<Tracer>();
  const Context with(options);
  EXPECT_EQ(with.stream().tracer(), options.tracer) << "communicators find it in the stream";
  {
    const TraceRange range(with.tracer(), C::kCompute, "sleep");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_GE(with.tracer()->take()[C::kCompute], 0.02);
}

}  // namespace
}  // namespace longspan
