#include "parallel/comm/in_process_group.h"

#include "core/base/error.h"

namespace longspan::in_process {

namespace {

std::string text_of(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "an exception without a message";
  }
}

std::string list_of(const std::vector<int>& ranks) {
  std::string text;
  for (int rank : ranks) text += (text.empty() ? "rank " : ", ") + std::to_string(rank);
  return text;
}

}  // namespace

World::World(int size) {
  for (int rank = 0; rank < size; ++rank) seats_.push_back(std::make_unique<Seat>());
}

void World::poison(int rank, std::exception_ptr failure) {
  const std::string text = fmt::format("rank {} failed: {}", rank, text_of(failure));
  std::lock_guard lock(mutex_);
  if (failure_) return;
  failure_ = std::move(failure);
  failure_text_ = text;
  wake_all();
}

void World::finish(int rank) {
  std::lock_guard lock(mutex_);
  seats_[static_cast<size_t>(rank)]->finished = true;
  wake_all();
}

void World::rethrow_failure() {
  std::lock_guard lock(mutex_);
  if (failure_) std::rethrow_exception(failure_);
}

void World::wake_all() {
  for (auto& seat : seats_) seat->changed.notify_all();
}

Group::Group(std::shared_ptr<World> world, std::vector<int> members, std::string name,
             std::chrono::milliseconds timeout)
    : world_(std::move(world)),
      members_(std::move(members)),
      name_(std::move(name)),
      timeout_(timeout),
      mailboxes_(2 * members_.size() * members_.size()) {}

void Group::send(Channel channel, int from, int to, Message message) {
  std::lock_guard lock(world_->mutex_);
  raise_if_failed({}, from, message.call);
  Mailbox& box = mailbox(channel, from, to);
  box.messages.emplace(box.num_sent++, std::move(message));
  world_->seats_[static_cast<size_t>(members_[static_cast<size_t>(to)])]->changed.notify_all();
}

Receive Group::post_receive(Channel channel, int from, int to) {
  std::lock_guard lock(world_->mutex_);
  return {.channel = channel, .from = from, .number = mailbox(channel, from, to).num_receives++};
}

bool Group::arrived(const std::vector<Receive>& receives, int to, const std::string& call) {
  std::lock_guard lock(world_->mutex_);
  const std::vector<int> absent = missing(receives, to);
  if (!absent.empty()) raise_if_failed(absent, to, call);
  return absent.empty();
}

bool Group::holds(const Receive& receive, int to) noexcept {
  std::lock_guard lock(world_->mutex_);
  return mailbox(receive.channel, receive.from, to).messages.contains(receive.number);
}

std::vector<Message> Group::take(const std::vector<Receive>& receives, int to, const std::string& call) {
  std::unique_lock lock(world_->mutex_);
  auto& seat = *world_->seats_[static_cast<size_t>(members_[static_cast<size_t>(to)])];
  const auto arrived_or_failed = [&] {
    const std::vector<int> absent = missing(receives, to);
    // Poison counts even when the messages are there: what the others do from now on is of no use.
    raise_if_failed(absent, to, call);
    return absent.empty();
  };
  if (!seat.changed.wait_for(lock, timeout_, arrived_or_failed)) {
    throw CommError(fmt::format("{}: no answer from {} within {:.3g} s", prefix(to, call),
                                list_of(missing(receives, to)), static_cast<double>(timeout_.count()) / 1e3));
  }
  std::vector<Message> messages;
  for (const Receive& receive : receives) {
    auto node = mailbox(receive.channel, receive.from, to).messages.extract(receive.number);
    messages.push_back(std::move(node.mapped()));
  }
  return messages;
}

std::shared_ptr<Group> Group::subgroup(uint64_t index, int color, const std::vector<int>& members,
                                       const std::string& name) {
  std::vector<int> in_world;
  for (int member : members) in_world.push_back(members_[static_cast<size_t>(member)]);
  std::lock_guard lock(world_->mutex_);
  NewGroup& entry = new_groups_[{index, color}];
  if (!entry.group) entry.group = std::make_shared<Group>(world_, in_world, name, timeout_);
  std::shared_ptr<Group> group = entry.group;
  if (++entry.num_joined == members.size()) new_groups_.erase({index, color});
  return group;
}

Group::Mailbox& Group::mailbox(Channel channel, int from, int to) {
  const size_t n = members_.size();
  return mailboxes_[(static_cast<size_t>(channel) * n + static_cast<size_t>(from)) * n + static_cast<size_t>(to)];
}

std::vector<int> Group::missing(const std::vector<Receive>& receives, int to) {
  std::vector<int> ranks;
  for (const Receive& receive : receives) {
    if (!mailbox(receive.channel, receive.from, to).messages.contains(receive.number)) ranks.push_back(receive.from);
  }
  return ranks;
}

void Group::raise_if_failed(const std::vector<int>& missing_ranks, int rank, const std::string& call) {
  if (world_->failure_) throw CommError(fmt::format("{}: {}", prefix(rank, call), world_->failure_text_));
  for (int peer : missing_ranks) {
    if (world_->seats_[static_cast<size_t>(members_[static_cast<size_t>(peer)])]->finished) {
      throw CommError(fmt::format("{}: rank {} has returned without sending", prefix(rank, call), peer));
    }
  }
}

std::string Group::prefix(int rank, const std::string& call) const {
  return fmt::format("{} in group '{}', rank {} of {}", call, name_, rank, size());
}

}  // namespace longspan::in_process
