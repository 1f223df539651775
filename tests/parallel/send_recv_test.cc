#include <thread>

#include "tests/parallel/comm_support.h"

namespace longspan::test {
namespace {

double value_of(int rank, int64_t i) { return 1000.0 * rank + static_cast<double>(i); }

TEST(SendRecv, RingsOfEvenUnevenAndEmptyShards) {
  const std::function<int64_t(int)> counts[] = {
      [](int) { return 5; }, [](int rank) { return 3 * rank; }, [](int rank) { return rank % 2 ? 0 : 100; },
      [](int) { return 0; }};
  for (int size = 1; size <= 8; ++size) {
    for (const auto& count : counts) {
      run_in_process(size, [&](Communicator& group) {
        const Context context = make_context();
        const int next = (group.rank() + 1) % size, previous = (group.rank() + size - 1) % size;
        const Tensor send =
            filled<double>(context, {count(group.rank())}, [&](int64_t i) { return value_of(group.rank(), i); });
        const Tensor receive = context.zeros({count(previous)}, DType::kFloat64);
        Work work = group.send_recv(context.stream(), {.send = send, .to = next, .receive = receive, .from = previous});
        work.wait();
        work.wait();  // allowed
        EXPECT_TRUE(work.test());
        expect_values<double>(receive, [&](int64_t i) { return value_of(previous, i); }, "received");
      });
    }
  }
}

TEST(SendRecv, ManyMessagesKeepTheirOrderWhateverIsWaitedForFirst) {
  constexpr int kNumMessages = 20;
  run_in_process(3, [](Communicator& group) {
    const Context context = make_context();
    const int next = (group.rank() + 1) % 3, previous = (group.rank() + 2) % 3;
    std::vector<Tensor> received;
    std::vector<Work> works;
    for (int m = 0; m < kNumMessages; ++m) {
      const Tensor send = filled<float>(context, {m}, [&](int64_t) { return value_of(group.rank(), m); });
      received.push_back(context.zeros({m}, DType::kFloat32));
      works.push_back(group.send_recv(context.stream(), {send, next, received.back(), previous}));
      // Copied at post: the sender may use its buffer once more.
      if (m > 0) send.data<float>()[0] = -1;
    }
    for (int m = kNumMessages - 1; m >= 0; --m) works[static_cast<size_t>(m)].wait();
    for (int m = 0; m < kNumMessages; ++m) {
      expect_values<float>(received[static_cast<size_t>(m)], [&](int64_t) { return value_of(previous, m); }, "message");
    }
  });
}

TEST(SendRecv, CollectivesPassMessagesUnderWay) {
  run_in_process(4, [](Communicator& group) {
    const Context context = make_context();
    const int next = (group.rank() + 1) % 4, previous = (group.rank() + 3) % 4;
    const Tensor send = filled<float>(context, {2}, [&](int64_t i) { return value_of(group.rank(), i); });
    const Tensor receive = context.zeros({2}, DType::kFloat32);
    Work work = group.send_recv(context.stream(), {send, next, receive, previous});
    const Tensor sum = filled<float>(context, {2}, [](int64_t) { return 1.0; });
    group.all_reduce(context.stream(), sum, ReduceOp::kSum);
    EXPECT_EQ(sum.data<float>()[0], 4.0f);
    work.wait();
    expect_values<float>(receive, [&](int64_t i) { return value_of(previous, i); }, "received");
  });
}

TEST(SendRecv, TestTurnsTrueOnceThePeerHasSent) {
  run_in_process(2, [](Communicator& group) {
    const Context context = make_context();
    const Tensor send = filled<float>(context, {1}, [&](int64_t) { return 7.0; });
    const Tensor receive = context.zeros({1}, DType::kFloat32);
    if (group.rank() == 1) group.barrier(context.stream());
    Work work = group.send_recv(context.stream(), {send, 1 - group.rank(), receive, 1 - group.rank()});
    if (group.rank() == 0) {
      EXPECT_FALSE(work.test());
      group.barrier(context.stream());
    }
    while (!work.test()) std::this_thread::yield();
    EXPECT_EQ(receive.data<float>()[0], 7.0f);
    work.wait();
  });
}

TEST(SendRecv, ToOneself) {
  const auto exchange = [](Communicator& group) {
    const Context context = make_context();
    for (int64_t count : {0, 1, 9}) {
      const Tensor send = filled<float>(context, {count}, [](int64_t i) { return static_cast<double>(i); });
      const Tensor receive = context.zeros({count}, DType::kFloat32);
      group.send_recv(context.stream(), {send, group.rank(), receive, group.rank()}).wait();
      expect_values<float>(receive, [](int64_t i) { return static_cast<double>(i); }, "to oneself");
    }
  };
  exchange(*make_self_communicator());
  run_in_process(1, exchange);
  run_in_process(3, exchange);
}

}  // namespace
}  // namespace longspan::test
