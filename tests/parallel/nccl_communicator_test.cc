// The communicator of GPUs over a device that threads play: streams of their own, operations that end late, bytes that move.
#include "parallel/comm/nccl/nccl_communicator.h"

#include <atomic>
#include <cmath>
#include <cstring>
#include <set>
#include <thread>

#include "parallel/comm/device_choice.h"
#include "parallel/comm/nccl/cuda_library.h"
#include "parallel/comm/process_mesh.h"
#include "parallel/comm/reference_clock.h"
#include "tests/parallel/comm_support.h"

namespace longspan::test {
namespace {

using nccl::Answer;

class EventPoint final : public nccl::Point {
 public:
  explicit EventPoint(Event event) : event_(std::move(event)) {}
  Answer reached() override { return {.state = event_.done() ? Answer::State::kDone : Answer::State::kInProgress, .text = {}}; }

 private:
  Event event_;
};

struct Asked {
  std::vector<nccl::UniqueId> ids;  // of the links, as they were connected
  std::vector<std::string> calls;
};

// A group of threads does, on the link's own stream, what the link is asked to. NCCL is seen busy for two looks after each call.
class ThreadedLink final : public nccl::Link {
 public:
  ThreadedLink(std::unique_ptr<Communicator> group, std::shared_ptr<Asked> asked)
      : group_(std::move(group)), asked_(std::move(asked)) {}

  Answer state() override { return {.state = busy_-- > 0 ? Answer::State::kInProgress : Answer::State::kDone, .text = {}}; }
  Answer all_reduce(const Tensor& data, ReduceOp op) override {
    return add("all_reduce", [this, data, op] { group_->all_reduce(*host_, data, op); });
  }
  Answer broadcast(const Tensor& data, int root) override {
    return add("broadcast", [this, data, root] { group_->broadcast(*host_, data, root); });
  }
  Answer all_gather(const Tensor& input, const Tensor& output) override {
    return add("all_gather", [this, input, output] { group_->all_gather(*host_, input, output); });
  }
  Answer send_recv(const SendRecv& message) override {
    return add("send_recv", [this, message] { group_->send_recv(*host_, message).wait(); });
  }
  Answer copy(void* into, const void* from, size_t num_bytes) override {
    return add("copy", [=] { std::memcpy(into, from, num_bytes); });
  }
  std::unique_ptr<nccl::Point> follow(Stream& compute) override {
    const Event event = compute.record();
    stream_->wait_for(event);
    return std::make_unique<EventPoint>(event);
  }
  std::unique_ptr<nccl::Point> mark() override { return std::make_unique<EventPoint>(stream_->record()); }
  Answer finalize() override { return add("finalize", [] {}); }
  void abort() noexcept override {}

 private:
  Answer add(const char* call, std::function<void()> work) {
    asked_->calls.push_back(call);
    stream_->run(std::move(work));
    busy_ = 2;
    return {.state = Answer::State::kInProgress, .text = {}};
  }

  std::unique_ptr<Communicator> group_;
  std::shared_ptr<Asked> asked_;
  std::shared_ptr<Stream> host_ = Stream::make_inline(), stream_ = Stream::make_threaded();
  int busy_ = 2;
};

class ThreadedLibrary final : public nccl::Library {
 public:
  explicit ThreadedLibrary(Communicator& world) : world_(world) {}

  nccl::UniqueId new_id() override {
    if (!id_error.empty()) throw CommError(id_error);
    nccl::UniqueId id{};
    id[0] = static_cast<std::byte>(world_.rank());
    id[127] = static_cast<std::byte>(++num_ids_);
    return id;
  }
  // Every rank of the world joins some group at the same time: those of one id.
  std::unique_ptr<nccl::Link> connect(const nccl::UniqueId& id, int rank, int size, const std::string& name) override {
    asked->ids.push_back(id);
    auto group = world_.split(256 * static_cast<int>(id[127]) + static_cast<int>(id[0]), rank, name);
    check(group->size() == size && group->rank() == rank, "rank {} of {} met as rank {} of {}", rank, size, group->rank(),
          group->size());
    return std::make_unique<ThreadedLink>(std::move(group), asked);
  }
  bool is_of_device(const Stream& stream) const override { return &stream == device.get(); }

  std::shared_ptr<Stream> device = Stream::make_threaded();
  std::shared_ptr<Asked> asked = std::make_shared<Asked>();
  std::string id_error;

 private:
  Communicator& world_;
  int num_ids_ = 0;
};

struct Rank {
  Communicator& group;  // over the device
  Context& context;
  ThreadedLibrary& library;
  CommLog& bootstrap;  // what the bootstrap was asked
  Stream& device() { return *library.device; }
};

void run_ranks(int size, const std::function<void(Rank)>& body) {
  run_in_process(size, [&](Communicator& world) {
    const auto log = std::make_shared<CommLog>();
    const auto bootstrap = make_recording_communicator(world, log);
    const auto library = std::make_shared<ThreadedLibrary>(world);
    const auto group = make_nccl_communicator(*bootstrap, library);
    EXPECT_EQ(group->rank(), world.rank());
    EXPECT_EQ(group->name(), "world");
    log->clear();
    Context context = make_context();
    body({*group, context, *library, *log});
  });
}

template <class T>
void check_sums_and_maxima(Rank rank, int64_t count) {
  const int size = rank.group.size(), own = rank.group.rank();
  const Tensor sum = filled<T>(rank.context, {count}, [&](int64_t i) { return static_cast<double>(own + 1 + i); });
  rank.group.all_reduce(rank.device(), sum, ReduceOp::kSum);
  expect_values<T>(sum, [&](int64_t i) { return size * (size + 1) / 2.0 + static_cast<double>(size * i); }, "sum");
  const Tensor largest =
      filled<T>(rank.context, {count}, [&](int64_t i) { return static_cast<double>(i % 2 ? own : -own); });
  rank.group.all_reduce(rank.device(), largest, ReduceOp::kMax);
  expect_values<T>(largest, [&](int64_t i) { return i % 2 ? size - 1.0 : 0.0; }, "max");
}

TEST(NcclCommunicator, SumsAndMaximaOfEachDtype) {
  for (int size = 1; size <= 4; ++size) {
    for (int64_t count : {0, 1, 1000}) {
      run_ranks(size, [&](Rank rank) {
        check_sums_and_maxima<double>(rank, count);
        check_sums_and_maxima<float>(rank, count);
        check_sums_and_maxima<int64_t>(rank, count);
      });
    }
  }
}

TEST(NcclCommunicator, BroadcastAndAllGather) {
  for (int size = 1; size <= 4; ++size) {
    run_ranks(size, [&](Rank rank) {
      for (int root = 0; root < size; ++root) {
        const Tensor data = filled<int32_t>(rank.context, {7}, [&](int64_t i) { return rank.group.rank() * 100.0 + i; });
        rank.group.broadcast(rank.device(), data, root);
        expect_values<int32_t>(data, [&](int64_t i) { return root * 100.0 + static_cast<double>(i); }, "broadcast");
      }
      const Tensor input = filled<float>(rank.context, {2, 3}, [&](int64_t i) { return rank.group.rank() * 10.0 + i; });
      const Tensor output = rank.context.zeros({size, 2, 3}, DType::kFloat32);
      rank.group.all_gather(rank.device(), input, output);
      expect_values<float>(output, [](int64_t i) { return static_cast<double>(i / 6 * 10 + i % 6); }, "gathered");
      EXPECT_TRUE(rank.bootstrap.records().empty());
    });
  }
}

// What the compute stream was given before is in the message, even when it takes its time.
TEST(NcclCommunicator, TransfersFollowTheComputeStream) {
  for (int size = 1; size <= 4; ++size) {
    run_ranks(size, [&](Rank rank) {
      const int own = rank.group.rank(), next = (own + 1) % size, previous = (own + size - 1) % size;
      const Tensor send = rank.context.zeros({5}, DType::kFloat64), receive = rank.context.zeros({5}, DType::kFloat64);
      rank.device().run([=] {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        for (int64_t i = 0; i < 5; ++i) send.data<double>()[i] = 100.0 * own + static_cast<double>(i);
      });
      Work work = rank.group.send_recv(rank.device(), {send, next, receive, previous});
      work.wait();
      work.wait();  // allowed
      EXPECT_TRUE(work.test());
      expect_values<double>(receive, [&](int64_t i) { return 100.0 * previous + static_cast<double>(i); }, "received");
    });
  }
}

TEST(NcclCommunicator, ComputeGoesOnWhileATransferIsUnderWay) {
  run_ranks(2, [](Rank rank) {
    const Tensor send = filled<float>(rank.context, {1}, [](int64_t) { return 7.0; });
    const Tensor receive = rank.context.zeros({1}, DType::kFloat32);
    if (rank.group.rank() == 1) rank.group.barrier(rank.device());  // this rank's half comes only after the other's compute
    Work work = rank.group.send_recv(rank.device(), {send, 1 - rank.group.rank(), receive, 1 - rank.group.rank()});
    if (rank.group.rank() == 0) {
      std::atomic<bool> computed = false;
      rank.device().run([&] { computed = true; });
      rank.device().synchronize();
      EXPECT_TRUE(computed);
      EXPECT_FALSE(work.test());
      rank.group.barrier(rank.device());
    }
    while (!work.test()) std::this_thread::yield();
    EXPECT_EQ(receive.data<float>()[0], 7.0f);
  });
}

TEST(NcclCommunicator, UnevenAndEmptyShardsTravel) {
  run_ranks(3, [](Rank rank) {
    const int own = rank.group.rank(), next = (own + 1) % 3, previous = (own + 2) % 3;
    const Tensor send = filled<float>(rank.context, {3 * own}, [&](int64_t i) { return own + 10.0 * i; });
    const Tensor receive = rank.context.zeros({3 * previous}, DType::kFloat32);
    rank.group.send_recv(rank.device(), {send, next, receive, previous}).wait();
    expect_values<float>(receive, [&](int64_t i) { return previous + 10.0 * static_cast<double>(i); }, "received");
    const Tensor nothing = rank.context.zeros({0}, DType::kFloat32), also = rank.context.zeros({0}, DType::kFloat32);
    const size_t num_calls = rank.library.asked->calls.size();
    Work work = rank.group.send_recv(rank.device(), {nothing, next, also, previous});
    EXPECT_TRUE(work.test());
    EXPECT_EQ(rank.library.asked->calls.size(), num_calls);
  });
}

TEST(NcclCommunicator, MaximumKeepsNanBecauseTheHostTakesIt) {
  run_ranks(3, [](Rank rank) {
    const Tensor data =
        filled<double>(rank.context, {2}, [&](int64_t i) { return i == 0 && rank.group.rank() == 1 ? NAN : rank.group.rank(); });
    rank.group.all_reduce(rank.device(), data, ReduceOp::kMax);
    EXPECT_TRUE(std::isnan(data.data<double>()[0]));
    EXPECT_EQ(data.data<double>()[1], 2.0);
    EXPECT_EQ(rank.library.asked->calls, (std::vector<std::string>{"copy", "copy"}));
    EXPECT_EQ(rank.bootstrap.records().size(), 1u);
  });
}

TEST(NcclCommunicator, CallsOnAStreamOfTheHostGoToTheBootstrap) {
  run_ranks(2, [](Rank rank) {
    const Tensor sum = filled<int64_t>(rank.context, {1}, [&](int64_t) { return rank.group.rank() + 1.0; });
    rank.group.all_reduce(rank.context.stream(), sum, ReduceOp::kSum);
    EXPECT_EQ(sum.data<int64_t>()[0], 3);
    rank.group.broadcast(rank.context.stream(), sum, 1);
    const Tensor all = rank.context.zeros({2, 1}, DType::kInt64);
    rank.group.all_gather(rank.context.stream(), sum, all);
    EXPECT_EQ(all.data<int64_t>()[1], 3);
    EXPECT_EQ(rank.bootstrap.records().size(), 3u);
    const int peer = 1 - rank.group.rank();
    const Tensor own = filled<int64_t>(rank.context, {1}, [&](int64_t) { return rank.group.rank() + 5.0; });
    rank.group.send_recv(rank.context.stream(), {own, peer, sum, peer}).wait();
    EXPECT_EQ(sum.data<int64_t>()[0], peer + 5);
    EXPECT_TRUE(rank.library.asked->calls.empty());
  });
}

// As a run with a trace does, whose world this is.
TEST(NcclCommunicator, RanksReadTheClockOfTheFirst) {
  run_ranks(3, [](Rank rank) {
    const int64_t own = 1000 * rank.group.rank();  // time stands still
    EXPECT_EQ(read_reference_clock(rank.context, rank.group, [&] { return own; }).ahead_ns, -own);
    EXPECT_TRUE(rank.library.asked->calls.empty());
  });
}

TEST(NcclCommunicator, BarrierFinishesTheComputeStreamOfAllRanks) {
  std::atomic<int> arrived = 0;
  run_ranks(4, [&](Rank rank) {
    rank.device().run([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      ++arrived;
    });
    rank.group.barrier(rank.device());
    EXPECT_EQ(arrived, 4);
  });
}

TEST(NcclCommunicator, EachGroupOfASplitHasItsOwnLink) {
  run_ranks(4, [](Rank rank) {
    const auto half = rank.group.split(rank.group.rank() % 2, -rank.group.rank(), "half");
    EXPECT_EQ(half->size(), 2);
    EXPECT_EQ(half->rank(), rank.group.rank() < 2 ? 1 : 0);
    const Tensor sum = filled<int64_t>(rank.context, {1}, [&](int64_t) { return rank.group.rank(); });
    half->all_reduce(rank.device(), sum, ReduceOp::kSum);
    EXPECT_EQ(sum.data<int64_t>()[0], rank.group.rank() % 2 ? 4 : 2);
    const ProcessMesh mesh(rank.group, {.data = 2, .context = 2});
    const auto& ids = rank.library.asked->ids;
    EXPECT_EQ(std::set<nccl::UniqueId>(ids.begin(), ids.end()).size(), ids.size());
    EXPECT_EQ(ids.size(), 7u);  // the world, half, four axes and the replicas
    const Tensor ring = filled<int64_t>(rank.context, {1}, [&](int64_t) { return rank.group.rank(); });
    mesh.axis(Axis::kContext).all_reduce(rank.device(), ring, ReduceOp::kSum);
    EXPECT_EQ(ring.data<int64_t>()[0], rank.group.rank() < 2 ? 1 : 5);
  });
}

TEST(NcclCommunicator, EveryRankLearnsThatThereIsNoId) {
  run_in_process(3, [](Communicator& world) {
    const auto library = std::make_shared<ThreadedLibrary>(world);
    library->id_error = "no network interface";
    const std::string message = message_of<CommError>([&] { make_nccl_communicator(world, library); });
    if (world.rank() == 0) {
      EXPECT_EQ(message, "connect in group 'world', rank 0 of 3: no network interface");
    } else {
      EXPECT_TRUE(contains(message, "rank 0 could not make an id")) << message;
      EXPECT_TRUE(contains(message, fmt::format("group 'world', rank {} of 3", world.rank()))) << message;
    }
  });
}

TEST(NcclCommunicator, ToOneselfTheSizesAgree) {
  run_ranks(1, [](Rank rank) {
    const Tensor two = filled<float>(rank.context, {2}, [](int64_t i) { return 1.0 + static_cast<double>(i); });
    const Tensor into = rank.context.zeros({2}, DType::kFloat32), three = rank.context.zeros({3}, DType::kFloat32);
    rank.group.send_recv(rank.device(), {two, 0, into, 0}).wait();
    EXPECT_EQ(into.data<float>()[1], 2.0f);
    const std::string message = message_of<Error>([&] { (void)rank.group.send_recv(rank.device(), {two, 0, three, 0}); });
    EXPECT_TRUE(contains(message, "sends 8 bytes to itself, but receives 12")) << message;
  });
}

// NCCL itself, as far as it goes without a GPU: an id, and then an error that names the call and the group.
TEST(NcclLibrary, WithoutAGpuRanksAreToldSo) {
  if (!has_nccl() || !visible_devices().empty()) return;
  std::atomic<int> num_told = 0;
  const std::string message = message_of<CommError>([&] {
    run_in_process(2, [&](Communicator& world) {
      try {
        make_nccl_communicator(world, make_nccl_library({}));
      } catch (const CommError&) {
        ++num_told;
        throw;
      }
    });
  });
  EXPECT_EQ(num_told, 2);
  EXPECT_TRUE(contains(message, "in group 'world', rank")) << message;
  EXPECT_TRUE(contains(message, "cuda")) << message;
}

TEST(NcclLibrary, IsThereOrSaysThatItIsNot) {
  if (has_nccl()) {
    EXPECT_FALSE(make_nccl_library({})->is_of_device(*Stream::make_inline()));
    EXPECT_TRUE(contains(message_of<Error>([] { make_nccl_library({.max_multiprocessors = -1}); }), "-1 multiprocessors"));
  } else {
    const std::string message = message_of<Error>([] { make_nccl_library({}); });
    EXPECT_TRUE(contains(message, "this build has no NCCL")) << message;
  }
}

}  // namespace
}  // namespace longspan::test
