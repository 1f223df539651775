// What the ranks-as-threads of in_process.cc share: mailboxes, and the poison that a failing rank leaves for its peers.
//
// A message is copied when it is posted, so a rank may be any number of messages ahead of its peers. Per channel and
// pair of ranks, messages are numbered by the sender and receives by the receiver, each as it posts them: they match by
// number, in whatever order the receives are waited for. Collectives have a channel of their own, so they may pass
// point-to-point messages that are under way.
// One mutex guards the mailboxes of a run, all groups together; each rank sleeps on a condition variable of its own.
// Raises CommError when a rank has failed, has returned without sending what is waited for, or does not send it in time.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace longspan::in_process {

using Payload = std::shared_ptr<const std::vector<std::byte>>;

// All ranks of one run.
class World {
 public:
  explicit World(int size);
  // The first failure is kept, and wakes every rank; what fails after it is taken for its consequence.
  void poison(int rank, std::exception_ptr failure);
  void finish(int rank);  // the rank's body has returned
  void rethrow_failure();

 private:
  friend class Group;
  struct Seat {
    std::condition_variable changed;
    bool finished = false;
  };
  void wake_all();

  std::mutex mutex_;
  std::vector<std::unique_ptr<Seat>> seats_;
  std::exception_ptr failure_;
  std::string failure_text_;  // "rank 1 failed: ..."
};

enum class Channel { kPointToPoint, kCollective };

struct Message {
  std::string call;  // what the sender was doing
  Payload payload;
};

// A receive that was posted: the message of this number from this rank.
struct Receive {
  Channel channel = Channel::kPointToPoint;
  int from = 0;
  uint64_t number = 0;
};

class Group {
 public:
  // members: ranks in the world, by rank in this group.
  Group(std::shared_ptr<World> world, std::vector<int> members, std::string name, std::chrono::milliseconds timeout);

  const std::string& name() const { return name_; }
  int size() const { return static_cast<int>(members_.size()); }
  std::chrono::milliseconds timeout() const { return timeout_; }

  void send(Channel channel, int from, int to, Message message);  // does not block
  Receive post_receive(Channel channel, int from, int to);
  // Whether all messages are there; they stay until taken.
  bool arrived(const std::vector<Receive>& receives, int to, const std::string& call);
  // Whether this one is; raises nothing.
  bool holds(const Receive& receive, int to) noexcept;
  // Waits for all of them.
  std::vector<Message> take(const std::vector<Receive>& receives, int to, const std::string& call);

  // The group of one color of the index-th split of this group: the same object for each of its members.
  std::shared_ptr<Group> subgroup(uint64_t index, int color, const std::vector<int>& members, const std::string& name);

 private:
  struct Mailbox {
    uint64_t num_sent = 0, num_receives = 0;
    std::map<uint64_t, Message> messages;
  };
  struct NewGroup {
    std::shared_ptr<Group> group;
    size_t num_joined = 0;
  };
  // These hold the world's lock already.
  Mailbox& mailbox(Channel channel, int from, int to);
  std::vector<int> missing(const std::vector<Receive>& receives, int to);
  void raise_if_failed(const std::vector<int>& missing_ranks, int rank, const std::string& call);
  std::string prefix(int rank, const std::string& call) const;

  std::shared_ptr<World> world_;
  std::vector<int> members_;
  std::string name_;
  std::chrono::milliseconds timeout_;
  std::vector<Mailbox> mailboxes_;  // [channel, from, to]
  std::map<std::pair<uint64_t, int>, NewGroup> new_groups_;
};

}  // namespace longspan::in_process
