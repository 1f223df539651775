#include "parallel/pipeline/verifier.h"

#include <algorithm>

#include "core/base/error.h"
#include "parallel/pipeline/rank_verifier.h"

namespace longspan {

namespace {

void check_shape(const PipelineProgram& program) {
  const PipelineShape& shape = program.shape;
  check(static_cast<int>(program.ranks.size()) == shape.placement.num_ranks, "{} programs for {} pipeline ranks",
        program.ranks.size(), shape.placement.num_ranks);
  check(shape.num_microbatches >= 1 && shape.sequence_chunks >= 1 && shape.num_microbatches % shape.sequence_chunks == 0,
        "{} microbatches of {} chunks a sequence", shape.num_microbatches, shape.sequence_chunks);
  int begin = 0;
  for (const PlacedChunk& chunk : shape.placement.chunks) {
    check(chunk.rank >= 0 && chunk.rank < shape.placement.num_ranks && chunk.begin == begin && chunk.end >= begin,
          "a chunk of blocks {} to {} on rank {} comes after block {}", chunk.begin, chunk.end, chunk.rank, begin);
    begin = chunk.end;
  }
}

struct Posted {
  const Action* action;
  size_t rank;
};

// Messages from one rank to another, as each side posts them.
struct Mail {
  std::vector<Posted> sent, received;
};

void expect_match(const Posted& sent, const Posted& received) {
  const Action& s = *sent.action;
  const Action& r = *received.action;
  const bool forward = s.kind == Action::Kind::kSendActivation;
  const bool matches = r.kind == (forward ? Action::Kind::kReceiveActivation : Action::Kind::kReceiveGradient) &&
                       r.microbatch == s.microbatch && r.block == s.block + (forward ? 1 : -1);
  check(matches, "rank {}: {} is out of order: it meets {} of rank {}", received.rank, r.to_string(), s.to_string(), sent.rank);
}

void check_messages(const PipelineProgram& program) {
  const size_t num_ranks = program.ranks.size();
  std::vector<Mail> mail(num_ranks * num_ranks);
  for (size_t rank = 0; rank < num_ranks; ++rank) {
    for (const Action& action : program.ranks[rank]) {
      const auto peer = static_cast<size_t>(action.peer);
      if (action.sends()) mail[rank * num_ranks + peer].sent.push_back({&action, rank});
      if (action.receives()) mail[peer * num_ranks + rank].received.push_back({&action, rank});
    }
  }
  for (const Mail& pair : mail) {
    for (size_t i = 0; i < std::max(pair.sent.size(), pair.received.size()); ++i) {
      check(i < pair.sent.size(), "rank {}: {} waits for a message that is never sent", pair.received[i].rank,
            pair.received[i].action->to_string());
      check(i < pair.received.size(), "rank {}: {} is never received", pair.sent[i].rank, pair.sent[i].action->to_string());
      expect_match(pair.sent[i], pair.received[i]);
    }
  }
}

Simulation run(const PipelineProgram& program, const PipelineCosts& costs, SendMode mode, const char* sends) {
  Simulation simulation = simulate(program, costs, mode);
  if (simulation.finished) return simulation;
  std::string stops;
  for (size_t rank = 0; rank < program.ranks.size(); ++rank) {
    const size_t at = simulation.stopped_at[rank];
    if (at == program.ranks[rank].size()) continue;
    stops += fmt::format("{}rank {} at {}", stops.empty() ? "" : ", ", rank, program.ranks[rank][at].to_string());
  }
  check(false, "deadlock with {}: {}", sends, stops);
  return simulation;
}

}  // namespace

PipelineFacts verify_pipeline(const PipelineProgram& program, const PipelineCosts& costs) {
  check_shape(program);
  check_costs(costs, program.shape);
  PipelineFacts facts;
  for (size_t rank = 0; rank < program.ranks.size(); ++rank) {
    RankVerifier verifier(program.shape, costs, static_cast<int>(rank));
    for (const Action& action : program.ranks[rank]) verifier.take(action);
    facts.ranks.push_back(verifier.finish());
  }
  check_messages(program);
  const Simulation timed = run(program, costs, SendMode::kAsynchronous, "sends under way until they are received");
  if (program.ranks.size() > 1) run(program, costs, SendMode::kRendezvous, "sends that nothing buffers");
  for (size_t rank = 0; rank < program.ranks.size(); ++rank) {
    facts.ranks[rank].busy_seconds = timed.busy_seconds(static_cast<int>(rank));
  }
  facts.makespan_seconds = timed.makespan_seconds;
  facts.bubble = timed.bubble();
  return facts;
}

}  // namespace longspan
