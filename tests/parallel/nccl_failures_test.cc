// Groups of NCCL whose ranks fail, fall silent or give up while others work: no rank waits for ever, and each is told what
// happened where. NCCL is a planted library whose ranks are threads: what moves, moves when a rank looks.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>

#include "parallel/comm/nccl/nccl_communicator.h"
#include "parallel/comm/ring_pass.h"
#include "tests/parallel/nccl_fake.h"

namespace longspan::test {
namespace {

using Messages = std::map<std::pair<int, int>, std::vector<std::vector<std::byte>>>;  // from, to: in their order

// What the ranks of one NCCL communicator share.
struct Fabric {
  std::mutex mutex;
  Messages messages;
  std::map<std::pair<int, int>, size_t> num_taken;  // of messages
  int num_met = 0, num_aborted = 0;
  bool broken = false;  // a rank that aborted was seen by its peers, as where a connection breaks
};

// What a rank's library does wrong.
struct Plan {
  std::string meets_with;         // an error in place of meeting
  std::string refuses;            // an error of connect itself
  int fails_in_message = -1;      // of all groups, counted from 0
  bool breaks_connections = true;  // by an abort
};

class PlantedLink final : public nccl::Link {
 public:
  PlantedLink(std::shared_ptr<Fabric> fabric, int rank, int size, Plan& plan)
      : fabric_(std::move(fabric)), rank_(rank), size_(size), plan_(plan) {
    if (!plan_.meets_with.empty()) return;
    const std::lock_guard lock(fabric_->mutex);
    ++fabric_->num_met;
  }

  Answer state() override {
    if (!plan_.meets_with.empty()) return failed(plan_.meets_with);
    if (!error_.empty()) return failed(error_);
    const std::lock_guard lock(fabric_->mutex);
    if (fabric_->broken) return failed("remote process exited");
    return fabric_->num_met < size_ ? in_progress() : Answer();
  }
  Answer send_recv(const SendRecv& message) override {
    if (plan_.fails_in_message-- == 0) error_ = "the network card is gone";
    const std::lock_guard lock(fabric_->mutex);
    const auto* bytes = static_cast<const std::byte*>(message.send.raw());
    auto& sent = fabric_->messages[{rank_, message.to}];
    if (error_.empty()) sent.emplace_back(bytes, bytes + message.send.num_bytes());
    receiving_.push_back({message, sent.size()});
    return {};
  }
  Answer all_reduce(const Tensor&, ReduceOp) override { return failed("not planted"); }
  Answer broadcast(const Tensor&, int) override { return failed("not planted"); }
  Answer all_gather(const Tensor&, const Tensor&) override { return failed("not planted"); }
  Answer copy(void*, const void*, size_t) override { return failed("not planted"); }
  std::unique_ptr<nccl::Point> follow(Stream&) override { return std::make_unique<AtOnce>(); }
  std::unique_ptr<nccl::Point> mark() override { return std::make_unique<End>(*this, ++num_marked_); }
  Answer finalize() override { return {}; }
  void abort() noexcept override {
    const std::lock_guard lock(fabric_->mutex);
    ++fabric_->num_aborted;
    fabric_->broken |= plan_.breaks_connections;
  }

 private:
  struct Receiving {
    SendRecv message;
    size_t number;  // of what it sent, which the peer must have taken
  };
  struct AtOnce final : nccl::Point {
    Answer reached() override { return {}; }
  };
  struct End final : nccl::Point {
    End(PlantedLink& l, size_t n) : link(l), number(n) {}
    Answer reached() override { return link.moved(number) ? Answer() : in_progress(); }
    PlantedLink& link;
    size_t number;
  };

  // Whether the first `number` messages have come and gone; takes what is there.
  bool moved(size_t number) {
    const std::lock_guard lock(fabric_->mutex);
    for (; num_received_ < receiving_.size(); ++num_received_) {
      const SendRecv& message = receiving_[num_received_].message;
      auto& taken = fabric_->num_taken[{message.from, rank_}];
      const auto& sent = fabric_->messages[{message.from, rank_}];
      if (taken == sent.size()) break;
      std::memcpy(message.receive.raw(), sent[taken++].data(), message.receive.num_bytes());
    }
    const Receiving& last = receiving_[number - 1];
    return num_received_ >= number && fabric_->num_taken[{rank_, last.message.to}] >= last.number;
  }

  std::shared_ptr<Fabric> fabric_;
  int rank_, size_;
  Plan& plan_;
  std::string error_;
  std::vector<Receiving> receiving_;
  size_t num_received_ = 0, num_marked_ = 0;
};

// The fabrics of all groups, by id.
struct Network {
  std::mutex mutex;
  std::map<nccl::UniqueId, std::shared_ptr<Fabric>> fabrics;
  uint8_t num_ids = 0;
  std::atomic<bool> time_passes = false;

  std::shared_ptr<Fabric> at(const nccl::UniqueId& id) {
    const std::lock_guard lock(mutex);
    auto& fabric = fabrics[id];
    if (!fabric) fabric = std::make_shared<Fabric>();
    return fabric;
  }
  int num_aborted() {
    int sum = 0;
    for (const auto& [id, fabric] : fabrics) sum += fabric->num_aborted;
    return sum;
  }
};

class PlantedLibrary final : public nccl::Library {
 public:
  PlantedLibrary(Network& network, Plan& plan) : network_(network), plan_(plan) {}
  nccl::UniqueId new_id() override {
    const std::lock_guard lock(network_.mutex);
    nccl::UniqueId id{};
    id[0] = static_cast<std::byte>(++network_.num_ids);
    return id;
  }
  std::unique_ptr<nccl::Link> connect(const nccl::UniqueId& id, int rank, int size, const std::string&) override {
    if (!plan_.refuses.empty()) throw CommError(plan_.refuses);
    return std::make_unique<PlantedLink>(network_.at(id), rank, size, plan_);
  }
  bool is_of_device(const Stream&) const override { return true; }

 private:
  Network& network_;
  Plan& plan_;
};

// A second passes with each rest, once somebody's silence is what the test is about; until then time stands still, however
// slow the machine is.
class PlantedClock final : public nccl::Clock {
 public:
  explicit PlantedClock(const std::atomic<bool>& runs) : runs_(runs) {}
  std::chrono::steady_clock::time_point now() override { return std::chrono::steady_clock::time_point{} + passed_; }
  void rest() override {
    if (runs_) passed_ += std::chrono::seconds(1);
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }

 private:
  const std::atomic<bool>& runs_;
  std::chrono::seconds passed_{0};
};

using Body = std::function<void(Communicator& group, Context& context)>;

// What each rank was told, by rank; empty where nothing failed.
std::vector<std::string> run_planted(Network& network, std::vector<Plan> plans, const Body& body) {
  std::vector<std::string> told(plans.size());
  run_in_process(static_cast<int>(plans.size()), [&](Communicator& threads) {
    const auto rank = static_cast<size_t>(threads.rank());
    Context context = make_context();
    try {
      const auto library = std::make_shared<PlantedLibrary>(network, plans[rank]);
      const auto group = make_nccl_communicator(threads, library, std::make_shared<PlantedClock>(network.time_passes));
      body(*group, context);
    } catch (const CommError& error) {
      told[rank] = error.what();
    }
  });
  return told;
}

// Three numbers of each rank go round.
void go_round(Communicator& group, Context& context) {
  const auto value = [](int owner, int64_t i) { return 10.0 * owner + static_cast<double>(i); };
  const Tensor own = filled<float>(context, {3}, [&](int64_t i) { return value(group.rank(), i); });
  RingPass ring(context, group, {own}, [](int) { return std::vector<Shape>{{3}}; });
  for (const RingHop& hop : ring) {
    expect_values<float>(hop.tensors[0], [&](int64_t i) { return value(hop.owner, i); }, "round a ring");
  }
}

void expect_told(const std::vector<std::string>& told, size_t rank, const std::vector<std::string>& parts) {
  const std::string end = fmt::format("rank {} of {}", rank, told.size());
  EXPECT_TRUE(contains(told[rank], end)) << end << " was told \"" << told[rank] << '"';
  for (const std::string& part : parts) EXPECT_TRUE(contains(told[rank], part)) << end << " was told \"" << told[rank] << '"';
}

TEST(NcclFailures, WithoutOneMessagesGoRound) {
  Network network;
  const auto told = run_planted(network, std::vector<Plan>(4), [](Communicator& group, Context& context) {
    for (int round = 0; round < 5; ++round) go_round(group, context);
  });
  EXPECT_EQ(told, std::vector<std::string>(4));
  EXPECT_EQ(network.num_aborted(), 0);
}

TEST(NcclFailures, ARankThatCannotMeetTellsWhyAndTheOthersTheirTimeout) {
  for (const bool at_once : {true, false}) {
    Network network;
    std::vector<Plan> plans(3);
    (at_once ? plans[1].refuses : plans[1].meets_with) = "invalid usage (Duplicate GPU detected)";
    for (Plan& plan : plans) plan.breaks_connections = false;
    network.time_passes = true;
    const auto told = run_planted(network, plans, [](Communicator&, Context&) { FAIL() << "they have met"; });
    expect_told(told, 1, {"connect in group 'world'", "invalid usage (Duplicate GPU detected)"});
    for (const size_t rank : {0, 2}) expect_told(told, rank, {"connect in group 'world'", "no answer from some rank"});
    EXPECT_EQ(network.num_aborted(), at_once ? 2 : 3);
  }
}

TEST(NcclFailures, APeersErrorInMidRingEndsAllAtOnceWhereConnectionsBreak) {
  Network network;
  std::vector<Plan> plans(4);
  plans[2].fails_in_message = 4;  // the second hop of the second round
  std::atomic<int> num_rounds = 0;
  const auto told = run_planted(network, plans, [&](Communicator& group, Context& context) {
    for (int round = 0; round < 2; ++round) {
      go_round(group, context);
      group.barrier(context.stream());
      ++num_rounds;
    }
  });
  EXPECT_EQ(num_rounds, 4) << "the first round of each";
  expect_told(told, 2, {"send_recv of 12 bytes", "the network card is gone"});
  for (const size_t rank : {0, 1, 3}) expect_told(told, rank, {"in group 'world'", "remote process exited"});
  EXPECT_EQ(network.num_aborted(), 4);
}

TEST(NcclFailures, APeersErrorThatNobodySeesIsATimeout) {
  Network network;
  std::vector<Plan> plans(4);
  plans[2].fails_in_message = 1;
  for (Plan& plan : plans) plan.breaks_connections = false;
  const auto told = run_planted(network, plans, [&](Communicator& group, Context& context) {
    group.barrier(context.stream());
    network.time_passes = true;
    go_round(group, context);
  });
  for (const size_t rank : {0, 1, 2, 3}) {
    const auto next = (rank + 1) % 4, previous = (rank + 3) % 4;
    if (rank == 2) continue;  // its own error or, where another fell silent sooner, that one's
    expect_told(told, rank, {"send_recv of 12 bytes", fmt::format("rank {} (to) or rank {} (from) within 60 s", next, previous)});
  }
  EXPECT_FALSE(told[2].empty());
  EXPECT_EQ(network.num_aborted(), 4);
}

TEST(NcclFailures, ASilentPeerIsATimeoutOfAll) {
  Network network;
  std::vector<Plan> plans(3);
  for (Plan& plan : plans) plan.breaks_connections = false;
  const auto told = run_planted(network, plans, [&](Communicator& group, Context& context) {
    group.barrier(context.stream());
    network.time_passes = true;
    if (group.rank() != 1) go_round(group, context);
  });
  expect_told(told, 0, {"send_recv of 12 bytes", "no answer from rank 1 (to) or rank 2 (from)"});
  expect_told(told, 2, {"send_recv of 12 bytes", "no answer from rank 0 (to) or rank 1 (from)"});
  EXPECT_EQ(told[1], "");
}

TEST(NcclFailures, AGroupThatIsGivenUpLeavesTheOthersAtWork) {
  Network network;
  std::vector<Plan> plans(3);
  plans[0].fails_in_message = 1;  // the first of the ring, after one of the other group
  const auto told = run_planted(network, plans, [&](Communicator& ring, Context& context) {
    const auto other = ring.split(0, ring.rank(), "other");
    const Tensor send = filled<float>(context, {1}, [&](int64_t) { return static_cast<double>(other->rank()); });
    const Tensor receive = context.zeros({1}, DType::kFloat32);
    const int next = (other->rank() + 1) % 3, previous = (other->rank() + 2) % 3;
    Work under_way = other->send_recv(context.stream(), {send, next, receive, previous});
    const std::string message = message_of<CommError>([&] { go_round(ring, context); });
    EXPECT_TRUE(contains(message, "group 'world'")) << message;
    under_way.wait();
    EXPECT_EQ(receive.data<float>()[0], static_cast<float>(previous));
    go_round(*other, context);
    const std::string again = message_of<CommError>([&] { go_round(ring, context); });
    EXPECT_TRUE(contains(again, "given up before")) << again;
  });
  EXPECT_EQ(told, std::vector<std::string>(3));
  EXPECT_EQ(network.num_aborted(), 3) << "each rank's end of the ring, and no end of the other";
}

}  // namespace
}  // namespace longspan::test
