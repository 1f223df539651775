// Communicators of the host for tensors that the host cannot touch: those of an emulated device.
#include "tests/parallel/comm_support.h"
#include "tests/support/emulated_device.h"

namespace longspan {
namespace {

// `value` of each element, written by the host and on the device afterwards.
Tensor on_device(const Context& context, const Shape& shape, const std::function<double(int64_t)>& value) {
  return context.to_device(test::filled<float>(context.host(), shape, value));
}

void expect_there(const Context& context, const Tensor& tensor, const std::function<double(int64_t)>& value,
                  const std::string& what) {
  test::expect_values<float>(context.to_host(tensor), value, what);
}

void on_devices(int size, const std::function<void(const Context&, Communicator&)>& body) {
  run_in_process(size, [&](Communicator& threads) {
    const Context context = test::emulated_device_context(DType::kFloat32);
    const auto group = make_staging_communicator(threads);
    body(context, *group);
  });
}

TEST(Staging, CollectivesOfADevice) {
  on_devices(3, [](const Context& context, Communicator& group) {
    const int rank = group.rank();
    const Tensor sum = on_device(context, {2, 5}, [&](int64_t i) { return static_cast<double>(i) + rank; });
    group.all_reduce(context.stream(), sum, ReduceOp::kSum);
    expect_there(context, sum, [](int64_t i) { return 3 * static_cast<double>(i) + 3; }, "sum");
    const Tensor from_one = on_device(context, {7}, [&](int64_t i) { return 100.0 * rank + static_cast<double>(i); });
    group.broadcast(context.stream(), from_one, 1);
    expect_there(context, from_one, [](int64_t i) { return 100 + static_cast<double>(i); }, "broadcast");
    const Tensor mine = on_device(context, {4}, [&](int64_t i) { return 10.0 * rank + static_cast<double>(i); });
    const Tensor all = context.zeros({3, 4}, DType::kFloat32);
    group.all_gather(context.stream(), mine, all);
    expect_there(context, all, [](int64_t i) { return 10 * static_cast<double>(i / 4) + static_cast<double>(i % 4); }, "all");
    group.barrier(context.stream());
  });
}

TEST(Staging, MessagesOfADeviceRoundARing) {
  on_devices(3, [](const Context& context, Communicator& group) {
    const int next = (group.rank() + 1) % 3, previous = (group.rank() + 2) % 3;
    const Tensor send = on_device(context, {6}, [&](int64_t i) { return 10.0 * group.rank() + static_cast<double>(i); });
    const Tensor receive = context.zeros({6}, DType::kFloat32), nothing = context.empty({0}, DType::kFloat32);
    Work first = group.send_recv(context.stream(), {.send = send, .to = next, .receive = receive, .from = previous});
    Work empty = group.send_recv(context.stream(), {.send = nothing, .to = next, .receive = nothing, .from = previous});
    context.clear(send);  // the stream's later work is no part of the message
    while (!first.test()) group.progress();
    first.wait();
    empty.wait();
    expect_there(context, receive, [&](int64_t i) { return 10.0 * previous + static_cast<double>(i); }, "received");
  });
}

TEST(Staging, TensorsOfTheHostAndSplitGroups) {
  on_devices(4, [](const Context& context, Communicator& group) {
    const auto half = group.split(group.rank() % 2, group.rank(), "half");
    const Tensor of_host = test::filled<float>(context.host(), {3}, [&](int64_t) { return group.rank(); });
    half->all_reduce(context.host().stream(), of_host, ReduceOp::kSum);
    test::expect_values<float>(of_host, [&](int64_t) { return group.rank() % 2 ? 4 : 2; }, "the host's");
    const Tensor there = on_device(context, {3}, [&](int64_t) { return group.rank(); });
    half->all_reduce(context.stream(), there, ReduceOp::kMax);
    expect_there(context, there, [&](int64_t) { return group.rank() % 2 ? 3 : 2; }, "the device's");
  });
}

TEST(Staging, WithoutItADeviceIsRefusedByName) {
  run_in_process(2, [](Communicator& threads) {
    const Context context = test::emulated_device_context(DType::kFloat32);
    const Tensor there = context.zeros({3}, DType::kFloat32);
    const auto message = test::message_of<Error>([&] { threads.all_reduce(context.stream(), there, ReduceOp::kSum); });
    EXPECT_TRUE(test::contains(message, "the stream of a device")) << message;
  });
}

TEST(Self, CopiesWithinADevice) {
  const Context context = test::emulated_device_context(DType::kFloat32);
  const auto alone = make_self_communicator();
  const Tensor send = on_device(context, {5}, [](int64_t i) { return static_cast<double>(i); });
  const Tensor receive = context.zeros({5}, DType::kFloat32), all = context.zeros({1, 5}, DType::kFloat32);
  alone->send_recv(context.stream(), {.send = send, .to = 0, .receive = receive, .from = 0}).wait();
  alone->all_gather(context.stream(), send, all);
  for (const Tensor& got : {receive, all}) expect_there(context, got, [](int64_t i) { return static_cast<double>(i); }, "got");
}

}  // namespace
}  // namespace longspan
