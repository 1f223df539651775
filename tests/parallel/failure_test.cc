#include <atomic>
#include <thread>

#include "tests/parallel/comm_support.h"

namespace longspan::test {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

Work ring_exchange(const Context& context, Communicator& group) {
  const int size = group.size();
  return group.send_recv(context.stream(),
                         {.send = context.zeros({4}, DType::kFloat32),
                          .to = (group.rank() + 1) % size,
                          .receive = context.zeros({4}, DType::kFloat32),
                          .from = (group.rank() + size - 1) % size});
}

struct Call {
  const char* name;
  std::function<void(const Context&, Communicator&)> run;
};

const std::vector<Call>& calls() {
  static const std::vector<Call> kCalls = {
      {"all_reduce", [](auto& c, auto& g) { g.all_reduce(c.stream(), c.zeros({3}, DType::kFloat32), ReduceOp::kSum); }},
      {"broadcast", [](auto& c, auto& g) { g.broadcast(c.stream(), c.zeros({3}, DType::kFloat32), g.size() - 1); }},
      {"all_gather",
       [](auto& c, auto& g) {
         g.all_gather(c.stream(), c.zeros({3}, DType::kFloat32), c.zeros({g.size(), 3}, DType::kFloat32));
       }},
      {"send_recv", [](auto& c, auto& g) { ring_exchange(c, g).wait(); }},
      {"barrier", [](auto& c, auto& g) { g.barrier(c.stream()); }},
      {"split", [](auto& c, auto& g) { g.split(0, 0, "new")->barrier(c.stream()); }},
  };
  return kCalls;
}

TEST(Failure, OneRankThrowsInsteadOfACallAndItsPeersAreToldAtOnce) {
  for (const Call& call : calls()) {
    for (int size : {2, 3, 8}) {
      std::atomic<int> num_told = 0;
      const auto start = Clock::now();
      const std::string message = message_of<std::logic_error>([&] {
        run_in_process(size, [&](Communicator& group) {
          const Context context = make_context();
          if (group.rank() == size - 1) throw std::logic_error("the cause");
          try {
            while (true) call.run(context, group);
          } catch (const CommError& error) {
            EXPECT_TRUE(contains(error.what(), "failed: the cause")) << error.what();
            EXPECT_TRUE(contains(error.what(), call.name)) << error.what();
            ++num_told;
            throw;
          }
        });
      });
      EXPECT_EQ(message, "the cause");
      EXPECT_EQ(num_told, size - 1) << call.name;
      EXPECT_LT(Clock::now() - start, std::chrono::seconds(1)) << call.name;
    }
  }
}

TEST(Failure, ReachesGroupsThatTheFailingRankIsNotIn) {
  std::atomic<int> num_told = 0;
  EXPECT_THROW(run_in_process(4,
                              [&](Communicator& group) {
                                const Context context = make_context();
                                try {
                                  const auto pair = group.split(group.rank() / 2, 0, "pair");
                                  if (group.rank() == 0) throw std::logic_error("the cause");
                                  if (group.rank() == 3) pair->barrier(context.stream());
                                  while (true) ring_exchange(context, *pair).wait();
                                } catch (const CommError&) {
                                  ++num_told;
                                }
                              }),
               std::logic_error);
  EXPECT_EQ(num_told, 3);
}

TEST(Failure, TimeoutNamesGroupCallAndPeers) {
  for (const Call& call : calls()) {
    std::atomic<bool> done = false;
    const auto start = Clock::now();
    const std::string message = message_of<CommError>([&] {
      run_in_process(
          3,
          [&](Communicator& group) {
            const Context context = make_context();
            if (group.rank() == 0) {
              try {
                call.run(context, group);
              } catch (...) {
                done = true;
                throw;
              }
            }
            while (!done) std::this_thread::sleep_for(milliseconds(1));
          },
          milliseconds(50));
    });
    EXPECT_TRUE(contains(message, std::string(call.name))) << message;
    EXPECT_TRUE(contains(message, "group 'world', rank 0 of 3")) << message;
    EXPECT_TRUE(contains(message, "rank 2") || contains(message, "rank 1, 2")) << message;
    EXPECT_TRUE(contains(message, "within 0.05 s")) << message;
    EXPECT_LT(Clock::now() - start, std::chrono::seconds(1)) << call.name;
  }
}

TEST(Failure, RankThatReturnsEarlyIsNotWaitedFor) {
  const auto start = Clock::now();
  const std::string message = message_of<CommError>([&] {
    run_in_process(2, [&](Communicator& group) {
      if (group.rank() == 0) group.barrier(make_context().stream());
    });
  });
  EXPECT_TRUE(contains(message, "rank 1 has returned")) << message;
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(1));
}

TEST(Failure, WhatARankSentBeforeItReturnedArrives) {
  run_in_process(2, [&](Communicator& group) {
    const Context context = make_context();
    if (group.rank() == 0) {
      const Work never_waited_for = ring_exchange(context, group);
    } else {
      std::this_thread::sleep_for(milliseconds(20));
      ring_exchange(context, group).wait();
    }
  });
}

TEST(Failure, DifferentCallsOrSizesAreNoticed) {
  const std::string calls_differ = message_of<CommError>([] {
    run_in_process(2, [](Communicator& group) {
      const Context context = make_context();
      const Tensor data = context.zeros({2}, DType::kFloat32);
      if (group.rank() == 0) group.all_reduce(context.stream(), data, ReduceOp::kSum);
      if (group.rank() == 1) group.barrier(context.stream());
    });
  });
  EXPECT_TRUE(contains(calls_differ, "barrier") || contains(calls_differ, "all_reduce")) << calls_differ;
  const std::string sizes_differ = message_of<CommError>([] {
    run_in_process(2, [](Communicator& group) {
      const Context context = make_context();
      const Tensor send = context.zeros({group.rank() + 1}, DType::kFloat32);
      const Tensor receive = context.zeros({1}, DType::kFloat32);
      group.send_recv(context.stream(), {send, 1 - group.rank(), receive, 1 - group.rank()}).wait();
    });
  });
  EXPECT_TRUE(contains(sizes_differ, "receives 4 bytes, but rank 1 sent 8")) << sizes_differ;
}

}  // namespace
}  // namespace longspan::test
