// Ranks as threads. All collectives are built on `exchange`: each rank hands its bytes to every other.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <thread>

#include "parallel/comm/backends.h"
#include "parallel/comm/in_process_group.h"

namespace longspan {

namespace {

using in_process::Channel;
using in_process::Group;
using in_process::Message;
using in_process::Payload;
using in_process::Receive;
using in_process::World;

Payload copy_of(const void* data, size_t num_bytes) {
  const auto* bytes = static_cast<const std::byte*>(data);
  return std::make_shared<const std::vector<std::byte>>(bytes, bytes + num_bytes);
}

Payload copy_of(const Tensor& tensor) { return copy_of(tensor.raw(), tensor.num_bytes()); }

void copy_into(void* into, const Payload& payload) {
  if (!payload->empty()) std::memcpy(into, payload->data(), payload->size());
}

// Peers that make different calls, or hold tensors of different sizes, must not go unnoticed.
void expect_message(const Communicator& group, int from, const Message& message, const char* call, size_t num_bytes) {
  if (message.call != call || message.payload->size() != num_bytes) {
    throw CommError(fmt::format("group '{}': rank {} is in {} of {} bytes, but rank {} in {} of {} bytes", group.name(),
                                group.rank(), call, num_bytes, from, message.call, message.payload->size()));
  }
}

// out[i] = the inputs' elements begin + i, reduced in the order of ranks, so that results repeat to the bit.
template <class T>
void reduce(const std::vector<Message>& inputs, size_t begin, ReduceOp op, std::vector<std::byte>& out) {
  T* sums = reinterpret_cast<T*>(out.data());
  const size_t count = out.size() / sizeof(T);
  for (size_t rank = 0; rank < inputs.size(); ++rank) {
    const T* input = reinterpret_cast<const T*>(inputs[rank].payload->data()) + begin;
    for (size_t i = 0; i < count; ++i) {
      if (rank == 0) sums[i] = input[i];
      else if (op == ReduceOp::kSum) sums[i] += input[i];
      // A NaN must survive a maximum: it is how an overflow shows.
      else if (input[i] > sums[i] || input[i] != input[i]) sums[i] = input[i];
    }
  }
}

class Arrival final : public Work::State {
 public:
  Arrival(const Communicator& group, std::shared_ptr<Group> mail, Receive receive, const SendRecv& message)
      : name_(group.name()), rank_(group.rank()), mail_(std::move(mail)), receive_(receive), into_(message.receive) {
    call_ = fmt::format("send_recv of {} bytes from rank {}", into_.num_bytes(), message.from);
  }

  bool test() override {
    if (!done_ && mail_->arrived({receive_}, rank_, call_)) wait();
    return done_;
  }

  bool finished() const noexcept override { return done_ || mail_->holds(receive_, rank_); }

  void wait() override {
    if (done_) return;
    const Message message = mail_->take({receive_}, rank_, call_).front();
    if (message.payload->size() != into_.num_bytes()) {
      throw CommError(fmt::format("group '{}': rank {} receives {} bytes, but rank {} sent {}", name_, rank_,
                                  into_.num_bytes(), receive_.from, message.payload->size()));
    }
    copy_into(into_.raw(), message.payload);
    done_ = true;
  }

 private:
  std::string name_, call_;
  int rank_;
  std::shared_ptr<Group> mail_;
  Receive receive_;
  Tensor into_;
  bool done_ = false;
};

class InProcessCommunicator final : public Communicator {
 public:
  InProcessCommunicator(std::shared_ptr<Group> mail, int rank)
      : Communicator(rank, mail->size(), mail->name(), mail->timeout()), mail_(std::move(mail)) {}

 private:
  void do_all_reduce(Stream& stream, const Tensor& data, ReduceOp op) override {
    finish_on_host(stream);
    const std::vector<Message> inputs = exchange("all_reduce", copy_of(data));
    for (int r = 0; r < size(); ++r) {
      expect_message(*this, r, inputs[static_cast<size_t>(r)], "all_reduce", data.num_bytes());
    }
    // Each rank reduces one slice for all.
    const size_t element_bytes = size_bytes(data.dtype()), count = data.num_bytes() / element_bytes;
    const auto slice_begin = [&](int r) { return count * static_cast<size_t>(r) / static_cast<size_t>(size()); };
    const size_t begin = slice_begin(rank());
    auto sums = std::make_shared<std::vector<std::byte>>((slice_begin(rank() + 1) - begin) * element_bytes);
    if (data.dtype() == DType::kFloat64) reduce<double>(inputs, begin, op, *sums);
    if (data.dtype() == DType::kFloat32) reduce<float>(inputs, begin, op, *sums);
    if (data.dtype() == DType::kInt64) reduce<int64_t>(inputs, begin, op, *sums);
    const std::vector<Message> slices = exchange("all_reduce", std::move(sums));
    for (int r = 0; r < size(); ++r) {
      copy_into(static_cast<std::byte*>(data.raw()) + slice_begin(r) * element_bytes,
                slices[static_cast<size_t>(r)].payload);
    }
  }

  void do_broadcast(Stream& stream, const Tensor& data, int root) override {
    finish_on_host(stream);
    if (rank() == root) {
      const Payload payload = copy_of(data);
      for (int to = 0; to < size(); ++to) {
        if (to != root) mail_->send(Channel::kCollective, root, to, {"broadcast", payload});
      }
      return;
    }
    const Receive receive = mail_->post_receive(Channel::kCollective, root, rank());
    const Message message = mail_->take({receive}, rank(), "broadcast").front();
    expect_message(*this, root, message, "broadcast", data.num_bytes());
    copy_into(data.raw(), message.payload);
  }

  void do_all_gather(Stream& stream, const Tensor& input, const Tensor& output) override {
    finish_on_host(stream);
    const std::vector<Message> inputs = exchange("all_gather", copy_of(input));
    for (int r = 0; r < size(); ++r) {
      expect_message(*this, r, inputs[static_cast<size_t>(r)], "all_gather", input.num_bytes());
      copy_into(output.select(0, r).raw(), inputs[static_cast<size_t>(r)].payload);
    }
  }

  Work do_send_recv(Stream& stream, const SendRecv& message) override {
    finish_on_host(stream);
    mail_->send(Channel::kPointToPoint, rank(), message.to, {"send_recv", copy_of(message.send)});
    const Receive receive = mail_->post_receive(Channel::kPointToPoint, message.from, rank());
    return Work(std::make_shared<Arrival>(*this, mail_, receive, message));
  }

  void do_barrier(Stream& stream) override {
    finish_on_host(stream);
    exchange("barrier", copy_of(nullptr, 0));
  }

  std::unique_ptr<Communicator> do_split(int color, int key, const std::string& name) override {
    const int mine[2] = {color, key};
    const std::vector<Message> choices = exchange("split", copy_of(mine, sizeof(mine)));
    std::vector<std::pair<int, int>> members;  // (key, rank)
    for (int r = 0; r < size(); ++r) {
      int choice[2];
      expect_message(*this, r, choices[static_cast<size_t>(r)], "split", sizeof(choice));
      copy_into(choice, choices[static_cast<size_t>(r)].payload);
      if (choice[0] == color) members.emplace_back(choice[1], r);
    }
    std::sort(members.begin(), members.end());
    std::vector<int> ranks;
    int new_rank = 0;
    for (const auto& [unused_key, r] : members) {
      if (r == rank()) new_rank = static_cast<int>(ranks.size());
      ranks.push_back(r);
    }
    return std::make_unique<InProcessCommunicator>(mail_->subgroup(num_splits_++, color, ranks, name), new_rank);
  }

  // The messages of all ranks, by rank, this one's own included.
  std::vector<Message> exchange(const char* call, Payload payload) {
    std::vector<Receive> receives;
    for (int peer = 0; peer < size(); ++peer) {
      mail_->send(Channel::kCollective, rank(), peer, {call, payload});
      receives.push_back(mail_->post_receive(Channel::kCollective, peer, rank()));
    }
    return mail_->take(receives, rank(), call);
  }

  std::shared_ptr<Group> mail_;
  uint64_t num_splits_ = 0;
};

}  // namespace

void run_in_process(int size, const std::function<void(Communicator&)>& body, std::chrono::milliseconds timeout) {
  check(size >= 1, "a group needs at least one rank, not {}", size);
  std::vector<int> members(static_cast<size_t>(size));
  std::iota(members.begin(), members.end(), 0);
  const auto world = std::make_shared<World>(size);
  const auto mail = std::make_shared<Group>(world, members, "world", timeout);
  const auto run_rank = [&](int rank) {
    try {
      InProcessCommunicator communicator(mail, rank);
      body(communicator);
      world->finish(rank);
    } catch (...) {
      world->poison(rank, std::current_exception());
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int rank : members) {
      try {
        threads.emplace_back(run_rank, rank);
      } catch (...) {
        world->poison(rank, std::current_exception());  // no thread: those that run must not wait for it
        break;
      }
    }
  }
  world->rethrow_failure();
}

}  // namespace longspan
