#include "tests/parallel/comm_support.h"

namespace longspan::test {
namespace {

using Kind = CommRecord::Kind;

TEST(Recording, KeepsCallsInTheirOrder) {
  run_in_process(2, [](Communicator& inner) {
    const Context context = make_context();
    const auto log = std::make_shared<CommLog>();
    const auto world = make_recording_communicator(inner, log);
    const auto group = world->split(0, 0, "ring");
    const Tensor data = filled<float>(context, {3}, [](int64_t) { return 1.0; });
    const int peer = 1 - inner.rank();
    group->all_reduce(context.stream(), data, ReduceOp::kSum);
    EXPECT_EQ(data.data<float>()[0], 2.0f);
    group->broadcast(context.stream(), data, 1);
    const Tensor gathered = context.zeros({2, 3}, DType::kFloat32), received = context.zeros({3}, DType::kFloat32);
    group->all_gather(context.stream(), data, gathered);
    Work work = group->send_recv(context.stream(), {data, peer, received, peer});
    log->mark("between");
    work.wait();
    work.wait();
    world->barrier(context.stream());
    group->progress();

    std::vector<std::pair<Kind, std::string>> seen;
    for (const CommRecord& record : log->records()) seen.emplace_back(record.kind, record.what);
    const std::vector<std::pair<Kind, std::string>> expected = {
        {Kind::kSplit, "ring"},          {Kind::kAllReduce, "ring"},
        {Kind::kBroadcast, "ring"},      {Kind::kAllGather, "ring"},
        {Kind::kSendRecvPosted, "ring"}, {Kind::kMark, "between"},
        {Kind::kSendRecvWaited, "ring"}, {Kind::kBarrier, "world"}};
    EXPECT_EQ(seen, expected);
    EXPECT_EQ(log->records()[4].to, peer);
    EXPECT_EQ(log->records()[4].from, peer);
    EXPECT_EQ(log->bytes_sent(), 12u);
    EXPECT_EQ(log->bytes_received(), 12u);
    log->clear();
    EXPECT_TRUE(log->records().empty());
  });
}

TEST(Recording, BytesCountAsReceivedOnceWaitedFor) {
  const auto self = make_self_communicator();
  const Context context = make_context();
  const auto log = std::make_shared<CommLog>();
  const auto group = make_recording_communicator(*self, log);
  const Tensor send = context.zeros({5}, DType::kFloat64), receive = context.zeros({5}, DType::kFloat64);
  Work work = group->send_recv(context.stream(), {send, 0, receive, 0});
  EXPECT_EQ(log->bytes_sent(), 40u);
  EXPECT_EQ(log->bytes_received(), 0u);
  EXPECT_TRUE(work.test());
  EXPECT_EQ(log->bytes_received(), 40u);
  work.wait();
  EXPECT_EQ(log->bytes_received(), 40u);
}

}  // namespace
}  // namespace longspan::test
