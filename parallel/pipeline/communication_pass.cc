#include "parallel/pipeline/communication_pass.h"

#include <algorithm>
#include <tuple>

#include "parallel/pipeline/simulation.h"

namespace longspan {

namespace {

using Kind = Action::Kind;

// What an action that computes reads from another rank, and what another rank reads of it. Kind::kReduce
// stands for nothing.
Action receive_for(const PipelineShape& shape, const std::vector<int>& owner, const Action& action) {
  const int own = owner[static_cast<size_t>(action.block)], num_blocks = shape.placement.num_blocks();
  const bool forward = action.kind == Kind::kForward, backward = action.kind == Kind::kBackwardInput;
  const int from = forward ? action.block - 1 : action.block + 1;
  if (!(forward || backward) || from < 0 || from >= num_blocks) return {Kind::kReduce};
  const int peer = owner[static_cast<size_t>(from)];
  if (peer == own) return {Kind::kReduce};
  return {forward ? Kind::kReceiveActivation : Kind::kReceiveGradient, action.microbatch, action.block, peer};
}

Action send_after(const PipelineShape& shape, const std::vector<int>& owner, const Action& action) {
  const int own = owner[static_cast<size_t>(action.block)], num_blocks = shape.placement.num_blocks();
  const bool forward = action.kind == Kind::kForward, backward = action.kind == Kind::kBackwardInput;
  const int to = forward ? action.block + 1 : action.block - 1;
  if (!(forward || backward) || to < 0 || to >= num_blocks) return {Kind::kReduce};
  const int peer = owner[static_cast<size_t>(to)];
  if (peer == own) return {Kind::kReduce};
  return {forward ? Kind::kSendActivation : Kind::kSendGradient, action.microbatch, action.block, peer};
}

// The receive that a send meets.
Action receive_of(const Action& send, int sender) {
  const bool forward = send.kind == Kind::kSendActivation;
  return {forward ? Kind::kReceiveActivation : Kind::kReceiveGradient, send.microbatch, send.block + (forward ? 1 : -1),
          sender};
}

class CommunicationPass {
 public:
  CommunicationPass(const PipelineShape& shape, const std::vector<Program>& compute) : shape_(shape), compute_(compute) {
    for (const PlacedChunk& chunk : shape.placement.chunks) {
      owner_.insert(owner_.end(), static_cast<size_t>(chunk.end - chunk.begin), chunk.rank);
    }
    const size_t num_ranks = compute.size();
    arriving_.resize(num_ranks * num_ranks);
    for (size_t rank = 0; rank < num_ranks; ++rank) {
      for (const Action& action : compute[rank]) {
        const Action send = action.computes() ? send_after(shape_, owner_, action) : Action{Kind::kReduce};
        if (send.sends()) arriving(static_cast<int>(rank), send.peer).push_back(receive_of(send, static_cast<int>(rank)));
      }
    }
  }

  PipelineProgram run() {
    PipelineProgram program{.shape = shape_, .ranks = {}};
    for (size_t rank = 0; rank < compute_.size(); ++rank) program.ranks.push_back(with_messages(static_cast<int>(rank)));
    if (program.ranks.size() > 1) free_of_deadlock(program);
    return program;
  }

 private:
  std::vector<Action>& arriving(int from, int to) {
    return arriving_[static_cast<size_t>(from) * compute_.size() + static_cast<size_t>(to)];
  }

  Program with_messages(int rank) {
    const Program& compute = compute_[static_cast<size_t>(rank)];
    std::vector<size_t> num_posted(compute_.size(), 0);  // by peer
    Program program;
    const auto post_for = [&](const Action& action) {
      const Action receive = action.computes() ? receive_for(shape_, owner_, action) : Action{Kind::kReduce};
      if (!receive.receives()) return;
      const std::vector<Action>& from_peer = arriving(receive.peer, rank);
      size_t& posted = num_posted[static_cast<size_t>(receive.peer)];
      // With all that the peer sends before it. What is not found was posted so already.
      const auto begin = from_peer.begin() + static_cast<std::ptrdiff_t>(posted);
      const auto found = std::find(begin, from_peer.end(), receive);
      if (found == from_peer.end()) return;
      program.insert(program.end(), begin, found + 1);
      posted = static_cast<size_t>(found - from_peer.begin()) + 1;
    };
    size_t posted_for = 0, next_run = end_of_run(compute, 0);
    for (size_t i = 0; i < compute.size(); ++i) {
      if (i == 0 || i == next_run) {  // a run begins: what it reads, and the run after it
        next_run = end_of_run(compute, i);
        for (const size_t end = end_of_run(compute, next_run); posted_for < end; ++posted_for) post_for(compute[posted_for]);
      }
      program.push_back(compute[i]);
      if (!compute[i].computes()) continue;
      const Action send = send_after(shape_, owner_, compute[i]);
      if (send.sends()) program.push_back(send);
    }
    return program;
  }

  // The end of the run that begins at `begin`: one microbatch going one way through one chunk.
  size_t end_of_run(const Program& compute, size_t begin) const {
    const auto run_of = [&](const Action& action) {
      return std::tuple{action.microbatch, action.kind == Kind::kForward, shape_.placement.chunk_of(action.block)};
    };
    size_t end = begin;
    while (end < compute.size() && compute[end].computes() && run_of(compute[end]) == run_of(compute[begin])) ++end;
    return end == begin && end < compute.size() ? end + 1 : end;
  }

  // Runs the programs with sends that nothing buffers; where all ranks stand still, posts the receive that
  // one of them waits for. A deadlock that no receive can end is left for the verifier to name.
  static void free_of_deadlock(PipelineProgram& program) {
    simulate(program, {}, SendMode::kRendezvous,
             [&program](const std::vector<size_t>& stopped_at) { return post_earlier(program, stopped_at); });
  }

  static bool post_earlier(PipelineProgram& program, const std::vector<size_t>& stopped_at) {
    for (size_t rank = 0; rank < program.ranks.size(); ++rank) {
      if (stopped_at[rank] == program.ranks[rank].size()) continue;
      const Action& action = program.ranks[rank][stopped_at[rank]];
      if (!action.sends()) continue;
      Program& peer = program.ranks[static_cast<size_t>(action.peer)];
      const auto here = peer.begin() + static_cast<std::ptrdiff_t>(stopped_at[static_cast<size_t>(action.peer)]);
      const auto receive = std::find(here, peer.end(), receive_of(action, static_cast<int>(rank)));
      if (receive == peer.end()) continue;
      std::rotate(here, receive, receive + 1);
      return true;
    }
    return false;
  }

  const PipelineShape& shape_;
  const std::vector<Program>& compute_;
  std::vector<int> owner_;                     // by block
  std::vector<std::vector<Action>> arriving_;  // [from, to]: receives, in the order in which they are sent
};

}  // namespace

PipelineProgram insert_communication(const PipelineShape& shape, const std::vector<Program>& compute) {
  return CommunicationPass(shape, compute).run();
}

}  // namespace longspan
