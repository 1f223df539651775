// core/runtime on one kernel thread: streams, events, memory resources, contexts.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "core/runtime/context.h"
#include "core/runtime/parallel.h"
#include "tests/core/expect_error.h"

namespace longspan {
namespace {

using namespace std::chrono_literals;
using test::expect_error;

TEST(Stream, InlineWorkIsDoneOnReturn) {
  const auto stream = Stream::make_inline();
  const auto caller = std::this_thread::get_id();
  bool same_thread = false;
  stream->run([&] { same_thread = std::this_thread::get_id() == caller; });
  EXPECT_TRUE(same_thread);
  EXPECT_TRUE(stream->record().done());
  expect_error(ErrorKind::kData, {"bad"}, [&] { stream->run([] { raise(ErrorKind::kData, "bad"); }); });
}

TEST(Stream, ThreadedWorkKeepsItsOrder) {
  const auto stream = Stream::make_threaded();
  std::vector<int> order;
  for (int i = 0; i < 100; ++i) stream->run([&order, i] { order.push_back(i); });
  stream->synchronize();
  ASSERT_EQ(order.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(Stream, OneWaitsForAnEventOfTheOther) {
  const auto first = Stream::make_threaded(), second = Stream::make_threaded();
  std::atomic<int> value{0};
  int seen = -1;
  first->run([&] {
    std::this_thread::sleep_for(20ms);
    value = 7;
  });
  second->wait_for(first->record());
  second->run([&] { seen = value; });
  second->synchronize();
  EXPECT_EQ(seen, 7);
}

TEST(Stream, CarriesAnExceptionToItsUser) {
  const auto stream = Stream::make_threaded();
  stream->run([] { raise(ErrorKind::kCheckpoint, "the disk is full"); });
  expect_error(ErrorKind::kCheckpoint, {"the disk is full"}, [&] { stream->synchronize(); });
  EXPECT_NO_THROW(stream->synchronize()) << "an exception is rethrown once";
  std::atomic<bool> go{false};
  stream->run([&] {
    while (!go) std::this_thread::sleep_for(1ms);
    raise(ErrorKind::kCheckpoint, "again");
  });
  const Event later = stream->record();  // given before the failure, which the next call would meet
  go = true;
  later.wait(10s);  // later work still runs
  expect_error(ErrorKind::kCheckpoint, {"again"}, [&] { stream->synchronize(); });
}

TEST(Stream, FinishesItsWorkBeforeItGoes) {
  std::atomic<int> done{0};
  {
    const auto stream = Stream::make_threaded();
    for (int i = 0; i < 10; ++i) stream->run([&] { ++done; });
  }
  EXPECT_EQ(done, 10);
}

TEST(Event, WaitsNoLongerThanItsTimeout) {
  const auto stream = Stream::make_threaded();
  std::atomic<bool> go{false};
  stream->run([&] {
    while (!go) std::this_thread::sleep_for(1ms);
  });
  const Event event = stream->record();
  EXPECT_FALSE(event.done());
  expect_error(ErrorKind::kResource, {"20 ms"}, [&] { event.wait(20ms); });
  go = true;
  event.wait(10s);
  EXPECT_TRUE(event.done());
  EXPECT_TRUE(Event().done());
  Event().wait(0ms);
}

TEST(HostResource, AlignsWhatItGives) {
  HostResource host;
  const auto stream = Stream::make_inline();
  for (const size_t size : {size_t{0}, size_t{1}, size_t{100}, size_t{5} << 20}) {
    void* p = host.allocate(size, *stream, MemoryTag::kWeights);
    ASSERT_NE(p, nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % 64, 0u);
    host.deallocate(p, size, *stream, MemoryTag::kWeights);
  }
}

TEST(CachingResource, GivesABlockAgain) {
  const auto statistics = std::make_shared<StatisticsResource>(std::make_shared<HostResource>());
  const auto stream = Stream::make_inline();
  {
    CachingResource caching(statistics);
    void* first = caching.allocate(1000, *stream, MemoryTag::kActivations);
    caching.deallocate(first, 1000, *stream, MemoryTag::kActivations);
    EXPECT_GE(caching.cached_bytes(), 1000u);
    void* second = caching.allocate(1001, *stream, MemoryTag::kActivations);  // a token more shares the block
    EXPECT_EQ(second, first);
    EXPECT_EQ(caching.cached_bytes(), 0u);
    caching.deallocate(second, 1001, *stream, MemoryTag::kActivations);
    EXPECT_EQ(statistics->statistics().num_allocations, 1u);
    EXPECT_GE(statistics->statistics().current_bytes, 1000u);
  }
  EXPECT_EQ(statistics->statistics().current_bytes, 0u) << "what is cached goes back upstream";
}

TEST(StatisticsResource, KeepsTagsApart) {
  StatisticsResource memory(std::make_shared<HostResource>());
  const auto stream = Stream::make_inline();
  void* a = memory.allocate(100, *stream, MemoryTag::kWeights);
  void* b = memory.allocate(50, *stream, MemoryTag::kGradients);
  memory.deallocate(a, 100, *stream, MemoryTag::kWeights);
  const MemoryStatistics s = memory.statistics();
  EXPECT_EQ(s.current_bytes, 50u);
  EXPECT_EQ(s.peak_bytes, 150u);
  EXPECT_EQ(s.peak_by_tag[static_cast<size_t>(MemoryTag::kWeights)], 100u);
  EXPECT_EQ(s.current_by_tag[static_cast<size_t>(MemoryTag::kGradients)], 50u);
  memory.reset_peaks();
  EXPECT_EQ(memory.statistics().peak_bytes, 50u);
  memory.deallocate(b, 50, *stream, MemoryTag::kGradients);
}

TEST(StatisticsResource, TagsAddUpToThePeak) {
  StatisticsResource memory(std::make_shared<HostResource>());
  const auto stream = Stream::make_inline();
  const auto at_peak = [&](MemoryTag tag) { return memory.statistics().by_tag_at_peak[static_cast<size_t>(tag)]; };
  void* a = memory.allocate(100, *stream, MemoryTag::kStash);
  void* b = memory.allocate(50, *stream, MemoryTag::kWorkspace);
  memory.deallocate(b, 50, *stream, MemoryTag::kWorkspace);
  void* c = memory.allocate(20, *stream, MemoryTag::kCommunication);  // 120: below the peak
  EXPECT_EQ(at_peak(MemoryTag::kStash), 100u);
  EXPECT_EQ(at_peak(MemoryTag::kWorkspace), 50u);
  EXPECT_EQ(at_peak(MemoryTag::kCommunication), 0u);
  void* d = memory.allocate(40, *stream, MemoryTag::kGradients);  // 160: a new peak, at which the workspace is gone
  EXPECT_EQ(memory.statistics().peak_bytes, 160u);
  EXPECT_EQ(at_peak(MemoryTag::kWorkspace), 0u);
  EXPECT_EQ(at_peak(MemoryTag::kCommunication), 20u);
  EXPECT_EQ(at_peak(MemoryTag::kGradients), 40u);
  memory.deallocate(a, 100, *stream, MemoryTag::kStash);
  memory.reset_peaks();
  EXPECT_EQ(at_peak(MemoryTag::kStash), 0u);
  EXPECT_EQ(at_peak(MemoryTag::kGradients), 40u);
  memory.deallocate(c, 20, *stream, MemoryTag::kCommunication);
  memory.deallocate(d, 40, *stream, MemoryTag::kGradients);
}

TEST(StatisticsResource, CountsWhatLiesElsewhere) {
  const auto memory = std::make_shared<StatisticsResource>(std::make_shared<HostResource>());
  {
    const CountedBytes counted(memory, 1000, MemoryTag::kWorkspace);
    EXPECT_EQ(memory->statistics().current_by_tag[static_cast<size_t>(MemoryTag::kWorkspace)], 1000u);
  }
  EXPECT_EQ(memory->statistics().current_bytes, 0u);
  EXPECT_EQ(memory->statistics().peak_bytes, 1000u);
}

TEST(HostVector, TakesItsBytesFromTheResource) {
  const auto memory = std::make_shared<StatisticsResource>(std::make_shared<HostResource>());
  const auto current = [&] { return memory->statistics().current_by_tag[static_cast<size_t>(MemoryTag::kStash)]; };
  {
    HostVector<int64_t> table(ResourceAllocator<int64_t>(memory, MemoryTag::kStash));
    table.reserve(10);
    EXPECT_EQ(current(), 80u);
    HostVector<int64_t> other;  // of no resource, until it is given a table that has one
    other = std::move(table);
    other.push_back(7);
    EXPECT_EQ(current(), 80u);
    HostVector<int64_t> copy = other;
    EXPECT_EQ(copy.back(), 7);
    EXPECT_EQ(current(), 88u);
  }
  EXPECT_EQ(current(), 0u);
}

TEST(LimitingResource, NamesBothNumbers) {
  LimitingResource memory(std::make_shared<HostResource>(), 1000);
  const auto stream = Stream::make_inline();
  void* a = memory.allocate(600, *stream, MemoryTag::kWeights);
  expect_error(ErrorKind::kResource, {"500", "600", "1000", "activations"},
               [&] { memory.allocate(500, *stream, MemoryTag::kActivations); });
  void* b = memory.allocate(400, *stream, MemoryTag::kWeights);
  memory.deallocate(a, 600, *stream, MemoryTag::kWeights);
  memory.deallocate(b, 400, *stream, MemoryTag::kWeights);
  void* c = memory.allocate(1000, *stream, MemoryTag::kWeights);
  memory.deallocate(c, 1000, *stream, MemoryTag::kWeights);
}

TEST(MemoryResources, ServeSeveralThreads) {
  const auto statistics = std::make_shared<StatisticsResource>(std::make_shared<HostResource>());
  const auto limiting = std::make_shared<LimitingResource>(statistics, size_t{64} << 20);
  {
    CachingResource caching(limiting);
    std::vector<std::thread> threads;
    for (size_t t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        const auto stream = Stream::make_inline();
        for (size_t i = 1; i <= 200; ++i) {
          const size_t size = 64 * (t + i % 7 + 1);
          auto* p = static_cast<unsigned char*>(caching.allocate(size, *stream, MemoryTag::kWorkspace));
          p[0] = p[size - 1] = static_cast<unsigned char>(t);
          caching.deallocate(p, size, *stream, MemoryTag::kWorkspace);
        }
      });
    }
    for (auto& thread : threads) thread.join();
  }
  EXPECT_EQ(statistics->statistics().current_bytes, 0u);
}

TEST(Context, MakesTensorsAndReturnsTheirMemory) {
  Context::Options options;
  const auto memory = std::make_shared<StatisticsResource>(std::make_shared<HostResource>());
  options.memory = memory;
  const Context context(options);
  {
    const Tensor t = context.zeros({3, 5}, DType::kBFloat16, MemoryTag::kGradients);
    for (int i = 0; i < 15; ++i) EXPECT_EQ(t.data<bfloat16>()[i].bits, 0);
    EXPECT_EQ(memory->statistics().current_by_tag[static_cast<size_t>(MemoryTag::kGradients)], 30u);
    EXPECT_EQ(context.zeros({0, 5}, DType::kFloat32).num_elements(), 0);
  }
  EXPECT_EQ(memory->statistics().current_bytes, 0u);
}

TEST(Context, RefusesNonsense) {
  expect_error(ErrorKind::kInternal, {"thread", "0"}, [] {
    Context::Options options;
    options.num_threads = 0;
    Context context(options);
  });
}

TEST(Context, ProgressHooksNest) {
  Context context{Context::Options{}};
  context.progress();  // none
  int outer = 0, inner = 0;
  {
    Context::ProgressGuard a(context, [&] { ++outer; });
    {
      Context::ProgressGuard b(context, [&] { ++inner; });
      context.progress();  // both: what is under way outside goes on
    }
    context.progress();
  }
  context.progress();
  EXPECT_EQ(outer, 2);
  EXPECT_EQ(inner, 1);
}

TEST(Parallel, OneThreadDoesItAllAndReportsProgress) {
  Context context{Context::Options{}};
  int progress = 0, tasks = 0;
  Context::ProgressGuard guard(context, [&] { ++progress; });
  parallel_tasks(context, 5, [&](int64_t task, int thread) {
    EXPECT_EQ(task, tasks++);
    EXPECT_EQ(thread, 0);
  });
  EXPECT_EQ(progress, 5);
  int calls = 0;
  parallel_for(context, 10, 3, [&](int64_t begin, int64_t end) {
    ++calls;
    EXPECT_EQ(begin, 0);
    EXPECT_EQ(end, 10);
  });
  parallel_for(context, 0, 1, [&](int64_t, int64_t) { ++calls; });
  EXPECT_EQ(calls, 1);
}

TEST(OrderedTasks, StartInOrderUnlessTheyHoldTheSame) {
  OrderedTasks tasks(std::vector<OrderedTasks::Holds>{{0, 10}, {0, 11}, {1, 11}, {2, 12}, {0, 10}});
  EXPECT_EQ(tasks.size(), 5);
  EXPECT_EQ(tasks.take(), 0);
  EXPECT_EQ(tasks.take(), 3);  // 1 waits for 0, 2 for 1, 4 for 1 and 0
  EXPECT_EQ(tasks.take(), OrderedTasks::kNone);
  tasks.finish(3);
  EXPECT_EQ(tasks.take(), OrderedTasks::kNone);
  tasks.finish(0);
  EXPECT_EQ(tasks.take(), 1);
  EXPECT_EQ(tasks.take(), OrderedTasks::kNone);
  tasks.finish(1);
  EXPECT_EQ(tasks.take(), 2);
  EXPECT_FALSE(tasks.all_taken());
  EXPECT_EQ(tasks.take(), 4);
  EXPECT_TRUE(tasks.all_taken());
}

TEST(OrderedTasks, RefuseATaskThatWouldWaitForItself) {
  expect_error(ErrorKind::kInternal, {"task 1", "3 twice"},
               [] { OrderedTasks(std::vector<OrderedTasks::Holds>{{0, 10}, {3, 3}}); });
}

}  // namespace
}  // namespace longspan
