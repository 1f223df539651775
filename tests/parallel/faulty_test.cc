#include "tests/parallel/comm_support.h"

namespace longspan::test {
namespace {

// Three messages of four bytes go round a ring of two; message m of rank r holds r * 10 + m in each byte. Returns what
// rank 0, whose communicator is faulty, received from rank 1 into buffers of 99.
std::vector<std::vector<int>> received_with(const CommFaults& faults) {
  std::vector<std::vector<int>> result;
  run_in_process(2, [&](Communicator& inner) {
    const Context context = make_context();
    const auto faulty = make_faulty_communicator(inner, inner.rank() == 0 ? faults : CommFaults{});
    const auto group = faulty->split(0, 0, "ring");
    const int peer = 1 - inner.rank();
    std::vector<Tensor> tensors;
    std::vector<Work> works;
    for (int m = 0; m < 3; ++m) {
      const Tensor send = filled<uint8_t>(context, {4}, [&](int64_t) { return inner.rank() * 10.0 + m; });
      tensors.push_back(filled<uint8_t>(context, {4}, [](int64_t) { return 99.0; }));
      works.push_back(group->send_recv(context.stream(), {send, peer, tensors.back(), peer}));
    }
    for (Work& work : works) work.wait();
    if (inner.rank() != 0) return;
    for (const Tensor& tensor : tensors) result.emplace_back(tensor.data<uint8_t>(), tensor.data<uint8_t>() + 4);
  });
  return result;
}

std::vector<int> four(int value) { return std::vector<int>(4, value); }

using Received = std::vector<std::vector<int>>;

TEST(Faulty, NoFaultIsNoFault) { EXPECT_EQ(received_with({}), (Received{four(10), four(11), four(12)})); }

TEST(Faulty, CorruptByte) {
  const Received received = received_with({.corrupt_byte_of = 1});
  EXPECT_EQ(received[0], four(10));
  EXPECT_EQ(std::count(received[1].begin(), received[1].end(), 11), 3);
  EXPECT_EQ(received[2], four(12));
}

TEST(Faulty, StaleBuffer) {
  EXPECT_EQ(received_with({.deliver_stale_of = 2}), (Received{four(10), four(11), four(99)}));
}

TEST(Faulty, SwappedPayloads) {
  EXPECT_EQ(received_with({.swap_with_next_of = 0}), (Received{four(11), four(10), four(12)}));
}

TEST(Faulty, SwapNeedsTheNextToBePosted) {
  const auto self = make_self_communicator();
  const auto group = make_faulty_communicator(*self, {.swap_with_next_of = 0});
  const Context context = make_context();
  const Tensor send = context.zeros({1}, DType::kFloat32), receive = context.zeros({1}, DType::kFloat32);
  Work work = group->send_recv(context.stream(), {send, 0, receive, 0});
  EXPECT_FALSE(work.test());
  EXPECT_THROW(work.wait(), Error);
}

TEST(Faulty, PayloadOfAnEarlierCall) {
  std::vector<std::vector<int>> received;
  run_in_process(2, [&](Communicator& inner) {  // here rank 1, which rank 0 hears, is the faulty one
    const Context context = make_context();
    const CommFaults faults{.send_earlier_of = inner.rank() == 1 ? 2 : -1};
    const auto group = make_faulty_communicator(inner, faults);
    for (int m = 0; m < 4; ++m) {
      const Tensor send = filled<uint8_t>(context, {4}, [&](int64_t) { return inner.rank() * 10.0 + m; });
      const Tensor receive = context.zeros({4}, DType::kUInt8);
      group->send_recv(context.stream(), {send, 1 - inner.rank(), receive, 1 - inner.rank()}).wait();
      if (inner.rank() == 0) received.emplace_back(receive.data<uint8_t>(), receive.data<uint8_t>() + 4);
    }
  });
  EXPECT_EQ(received, (Received{four(10), four(11), four(10), four(13)}));
}

TEST(Faulty, KeepsItsOwnPayload) {
  EXPECT_EQ(received_with({.keep_own_of = 1}), (Received{four(10), four(1), four(12)}));
}

TEST(Faulty, CountsItsPartOfASumTwice) {
  run_in_process(2, [](Communicator& inner) {
    const Context context = make_context();
    const CommFaults faults{.count_twice_of = inner.rank() == 0 ? 1 : -1};
    const auto group = make_faulty_communicator(inner, faults);
    const auto total = [&](ReduceOp op) {
      const Tensor data = filled<double>(context, {1}, [&](int64_t) { return inner.rank() == 0 ? 1.0 : 10.0; });
      group->all_reduce(context.stream(), data, op);
      return *data.data<double>();
    };
    EXPECT_EQ(total(ReduceOp::kSum), 11);
    EXPECT_EQ(total(ReduceOp::kMax), 10);
    EXPECT_EQ(total(ReduceOp::kSum), 12);
    EXPECT_EQ(total(ReduceOp::kSum), 11);
  });
}

TEST(Faulty, FailsAtTheGivenCall) {
  const std::string message = message_of<CommError>([] { received_with({.fail_at = 1}); });
  EXPECT_TRUE(contains(message, "group 'ring', rank 0: send_recv 1 was made to fail")) << message;
}

TEST(Faulty, Delays) {
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(received_with({.delay = std::chrono::milliseconds(10)}), (Received{four(10), four(11), four(12)}));
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(30));
}

}  // namespace
}  // namespace longspan::test
