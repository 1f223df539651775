// core/runtime/trace.h on a clock that the test sets.
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "core/runtime/context.h"
#include "tests/core/expect_error.h"
#include "tests/support/virtual_device.h"

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

TEST(Tracer, HiddenIsWhatIsUnderWayAndLetOnWhileNobodyWaits) {
  Timed t;
  {
    const TraceRange forward = t.range(C::kCompute, "forward");
    t.pass(1);
    const TraceEvent first = t.tracer->begin_transfer({});
    t.pass(2);  // hidden
    const TraceEvent second = t.tracer->begin_transfer({});
    t.pass(4);  // hidden, once
    t.tracer->let_on();
    t.tracer->end_transfer(first);
    t.pass(8);  // hidden
    t.tracer->let_on();
    {
      const TraceRange wait = t.range(C::kCommunication, "wait");
      t.pass(16);  // exposed
      t.tracer->end_transfer(second);
      t.pass(32);
    }
    t.pass(64);
    t.tracer->let_on();
  }
  const TimeBreakdown times = t.tracer->take();
  EXPECT_DOUBLE_EQ(times.hidden_communication_seconds, 14);
  EXPECT_DOUBLE_EQ(times[C::kCommunication], 48);
  EXPECT_DOUBLE_EQ(times[C::kCompute], 1 + 14 + 64);
}

// Under way all the time, but nobody called what moves it: what then arrives in the wait was not hidden.
TEST(Tracer, WhatStandsStillUntilTheWaitIsNotHidden) {
  Timed t;
  {
    const TraceRange forward = t.range(C::kCompute, "forward");
    const TraceEvent transfer = t.tracer->begin_transfer({});
    t.pass(1);
    t.tracer->let_on();
    t.pass(2);
    const TraceRange wait = t.range(C::kCommunication, "wait");
    t.tracer->end_transfer(transfer);
  }
  EXPECT_DOUBLE_EQ(t.tracer->take().hidden_communication_seconds, 1);
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

// A context of a device in virtual time.
struct OnDevice {
  test::VirtualDevice device;
  std::shared_ptr<Tracer> tracer = std::make_shared<Tracer>(
      Tracer::Options{.memory = nullptr, .clock = [this] { return device.now_ns(); }});
  Context context{Context::Options{.device = {.type = DeviceType::kCuda, .ordinal = 0},
                                   .memory = std::make_shared<HostResource>(),
                                   .kernels = nullptr,
                                   .tracer = tracer,
                                   .stream = device.stream(),
                                   .host_memory = std::make_shared<HostResource>()}};

  TraceRange range(C category, const char* name) { return TraceRange(tracer.get(), category, name); }
};

std::vector<TraceEvent> of_stream(const HostVector<TraceEvent>& events, int stream) {
  std::vector<TraceEvent> found;
  std::copy_if(events.begin(), events.end(), std::back_inserter(found), [&](const auto& e) { return e.stream == stream; });
  return found;
}

TEST(Tracer, RecordsWhenTheDeviceDidWhatARangeGaveIt) {
  constexpr int64_t kMillisecond = 1'000'000, kSlack = 100'000;  // the host's own time
  OnDevice t;
  t.tracer->start_recording(16);
  const int64_t start = t.tracer->now_ns();
  {
    const TraceRange forward = t.range(C::kCompute, "forward");
    for (const char* name : {"first", "second"}) {
      const TraceRange inner = t.range(C::kCompute, name);
      t.device.compute().work(3 * kMillisecond);
    }
    const TraceRange wait = t.range(C::kCommunication, "wait");
  }
  const int64_t enqueued = t.tracer->now_ns();
  const auto events = t.tracer->stop_recording();
  EXPECT_LT(enqueued - start, kSlack) << "the host went on";
  EXPECT_EQ(of_stream(events, TraceEvent::kHost).size(), 4u);
  const auto spans = of_stream(events, TraceEvent::kComputeStream);
  ASSERT_EQ(spans.size(), 3u) << "communication of the host is no work of the compute stream";
  EXPECT_STREQ(spans[0].name, "first");
  EXPECT_NEAR(static_cast<double>(spans[0].begin_ns), static_cast<double>(start), kSlack) << "by the host's clock";
  EXPECT_NEAR(static_cast<double>(spans[0].end_ns - spans[0].begin_ns), 3 * kMillisecond, kSlack);
  EXPECT_STREQ(spans[1].name, "second");
  EXPECT_EQ(spans[1].begin_ns, spans[0].end_ns) << "given before the first was done";
  EXPECT_EQ(spans[1].end_ns - spans[1].begin_ns, 3 * kMillisecond);
  EXPECT_STREQ(spans[2].name, "forward");
  EXPECT_LE(spans[2].begin_ns, spans[0].begin_ns);
  EXPECT_EQ(spans[2].end_ns, spans[1].end_ns);
  EXPECT_EQ(t.tracer->streams(), std::vector<std::string>{"compute stream"});
}

TEST(Tracer, RecordsStreamsBesideTheComputeStream) {
  OnDevice t;
  test::VirtualDevice::Timeline other(t.device), third(t.device);
  t.tracer->start_recording(16);
  ASSERT_TRUE(t.tracer->times_streams());
  const auto transfer = [&](test::VirtualDevice::Timeline& timeline, const char* name) {
    const TraceRange post(t.tracer.get(), C::kCommunication, "ring transfer", {.layer = 2, .hop = 1});
    StreamSpan span = t.tracer->begin_on_stream(&timeline, name, {.to = 1, .bytes = 8}, timeline.mark_time());
    timeline.work(5000);
    span.end = timeline.mark_time();
    t.device.wait_until(timeline.end());
    t.tracer->keep(std::move(span));
  };
  transfer(other, "other");
  transfer(third, "third");
  transfer(other, "other");
  StreamSpan without_end = t.tracer->begin_on_stream(&third, "third", {}, third.mark_time());
  t.tracer->keep(std::move(without_end));
  const auto events = t.tracer->stop_recording();
  EXPECT_EQ(t.tracer->num_lost(), 1u);
  EXPECT_EQ(t.tracer->streams(), (std::vector<std::string>{"compute stream", "other", "third"}));
  EXPECT_EQ(of_stream(events, 2).size(), 1u);
  const auto spans = of_stream(events, 1);
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(spans[1].end_ns - spans[1].begin_ns, 5000 + 1000) << "with the host's look at its clock between";
  EXPECT_EQ(spans[1].kind, TraceEvent::Kind::kTransfer);
  EXPECT_STREQ(spans[1].name, "ring transfer");
  EXPECT_EQ(spans[1].args.layer, 2);
  EXPECT_EQ(spans[1].args.hop, 1);
  EXPECT_EQ(spans[1].args.bytes, 8);
}

TEST(Tracer, AsksADeviceForNothingWhileItDoesNotRecord) {
  OnDevice t;
  const auto ranges = [&] {
    const TraceRange outer = t.range(C::kCompute, "outer");
    const TraceRange inner = t.range(C::kCompute, "inner");
  };
  ranges();
  EXPECT_FALSE(t.tracer->times_streams());
  EXPECT_EQ(t.device.num_marks(), 0);
  {
    const TraceRange began_before = t.range(C::kCompute, "before");
    t.tracer->start_recording(64);
    ranges();
  }
  auto left_open = std::make_unique<TraceRange>(t.tracer.get(), C::kCompute, "left open");
  EXPECT_EQ(of_stream(t.tracer->stop_recording(), TraceEvent::kComputeStream).size(), 2u);
  EXPECT_FALSE(t.tracer->times_streams());
  const int marks = t.device.num_marks();
  ranges();
  EXPECT_EQ(t.device.num_marks(), marks);
  t.tracer->start_recording(64);
  left_open.reset();
  EXPECT_TRUE(t.tracer->stop_recording().empty()) << "it began in another recording";
}

TEST(Tracer, KeepsNoMoreSpansOfStreamsThanItsCapacity) {
  OnDevice t;
  t.tracer->start_recording(7);
  {
    const TraceRange outer = t.range(C::kCompute, "outer");
    for (int i = 0; i < 5; ++i) const TraceRange inner = t.range(C::kCompute, "inner");
  }
  const auto events = t.tracer->stop_recording();
  EXPECT_EQ(events.size(), 7u);
  EXPECT_EQ(t.tracer->num_lost(), 5u);
  const auto spans = of_stream(events, TraceEvent::kComputeStream);
  ASSERT_FALSE(spans.empty());
  EXPECT_STREQ(spans.back().name, "outer") << "what is around the others has room";
}

}  // namespace
}  // namespace longspan
