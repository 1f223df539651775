#include "parallel/pipeline/simulation.h"

#include <algorithm>
#include <numeric>

namespace longspan {

namespace {

// Messages from one rank to another, by number.
struct Channel {
  std::vector<double> sent, received, arrived;  // when each was posted by either side, and when it is there
};

// Which message an action of a rank reads: set where it receives.
struct Expected {
  const Channel* channel = nullptr;
  size_t number = 0;
};

class Simulator {
 public:
  Simulator(const PipelineProgram& program, const PipelineCosts& costs, SendMode mode)
      : program_(program), costs_(costs), mode_(mode), num_ranks_(program.ranks.size()) {
    const size_t pairs =
        static_cast<size_t>(program.shape.num_microbatches) * static_cast<size_t>(program.shape.placement.num_blocks());
    channels_.resize(num_ranks_ * num_ranks_);
    expected_.assign(2 * pairs, {});  // of a (direction, microbatch, block): only one rank receives it
    clocks_.assign(num_ranks_, 0);
    result_.stopped_at.assign(num_ranks_, 0);
    result_.spans.resize(num_ranks_);
  }

  Simulation run(const Unstick& unstick) {
    do {
      while (move()) continue;
      result_.finished = true;
      for (size_t rank = 0; rank < num_ranks_; ++rank) {
        result_.finished = result_.finished && result_.stopped_at[rank] == program_.ranks[rank].size();
      }
    } while (!result_.finished && unstick && unstick(result_.stopped_at));
    for (const double clock : clocks_) result_.makespan_seconds = std::max(result_.makespan_seconds, clock);
    return std::move(result_);
  }

 private:
  // Every rank as far as it gets; whether any got on.
  bool move() {
    bool moved = false;
    for (size_t rank = 0; rank < num_ranks_; ++rank) {
      size_t& at = result_.stopped_at[rank];
      for (; at < program_.ranks[rank].size() && take(rank, program_.ranks[rank][at]); ++at) moved = true;
    }
    return moved;
  }

  // Whether the rank could do it; else it does it later.
  bool take(size_t rank, const Action& action) {
    if (action.kind == Action::Kind::kReduce || action.kind == Action::Kind::kStartReduce) return true;
    if (action.sends()) return send(rank, action);
    if (action.receives()) {
      Channel& channel = channel_between(static_cast<size_t>(action.peer), rank);
      const bool gradient = action.kind == Action::Kind::kReceiveGradient;
      expected(gradient, action) = {&channel, channel.received.size()};
      channel.received.push_back(clocks_[rank]);
      meet(channel, action.microbatch);
      return true;
    }
    return compute(rank, action);
  }

  bool send(size_t rank, const Action& action) {
    Channel& channel = channel_between(rank, static_cast<size_t>(action.peer));
    if (mode_ == SendMode::kRendezvous) {
      const size_t number = channel.sent.size();
      if (channel.received.size() <= number) return false;
      clocks_[rank] = std::max(clocks_[rank], channel.received[number]);
    }
    channel.sent.push_back(clocks_[rank]);
    meet(channel, action.microbatch);
    return true;
  }

  bool compute(size_t rank, const Action& action) {
    double begin = clocks_[rank];
    if (action.kind != Action::Kind::kBackwardWeight) {
      const Expected& input = expected(action.kind == Action::Kind::kBackwardInput, action);
      if (input.channel) {
        if (input.channel->arrived.size() <= input.number) return false;
        begin = std::max(begin, input.channel->arrived[input.number]);
      }
    }
    clocks_[rank] = begin + costs_.seconds_of(program_.shape, action);
    result_.spans[rank].push_back({action, begin, clocks_[rank]});
    return true;
  }

  // The next message is under way once both sides have posted it.
  void meet(Channel& channel, int microbatch) {
    const size_t number = channel.arrived.size();
    if (channel.sent.size() <= number || channel.received.size() <= number) return;
    double begin = std::max(channel.sent[number], channel.received[number]);
    if (number > 0) begin = std::max(begin, channel.arrived.back());
    channel.arrived.push_back(begin + costs_.seconds_of_message(program_.shape, microbatch));
  }

  Channel& channel_between(size_t from, size_t to) { return channels_[from * num_ranks_ + to]; }

  Expected& expected(bool gradient, const Action& action) {
    const int row = (gradient ? program_.shape.num_microbatches : 0) + action.microbatch;
    return expected_[static_cast<size_t>(row * program_.shape.placement.num_blocks() + action.block)];
  }

  const PipelineProgram& program_;
  const PipelineCosts& costs_;
  SendMode mode_;
  size_t num_ranks_;
  std::vector<Channel> channels_;  // [from, to]
  std::vector<Expected> expected_;
  std::vector<double> clocks_;  // by rank: when it is done with what it did so far
  Simulation result_;
};

}  // namespace

double Simulation::busy_seconds(int rank) const {
  const auto& own = spans[static_cast<size_t>(rank)];
  return std::accumulate(own.begin(), own.end(), 0.0,
                         [](double sum, const Span& span) { return sum + span.end_seconds - span.begin_seconds; });
}

double Simulation::bubble() const {
  double busy = 0;
  for (size_t rank = 0; rank < spans.size(); ++rank) busy += busy_seconds(static_cast<int>(rank));
  const double all = makespan_seconds * static_cast<double>(spans.size());
  return all > 0 ? 1 - busy / all : 0;
}

Simulation simulate(const PipelineProgram& program, const PipelineCosts& costs, SendMode mode, const Unstick& unstick) {
  check_costs(costs, program.shape);
  return Simulator(program, costs, mode).run(unstick);
}

}  // namespace longspan
