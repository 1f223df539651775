// Simulation: what happens when all ranks run their programs, by given costs: when each action begins and
// ends, and who waits for whom for ever. Ranks compute one action at a time; messages of one direction
// between two ranks go one after another.
#pragma once

#include <functional>
#include <vector>

#include "parallel/pipeline/pipeline_program.h"

namespace longspan {

enum class SendMode {
  kAsynchronous,  // a send costs its rank nothing, and is under way from when both sides have posted it
  kRendezvous,    // nothing is buffered: a send holds its rank until the peer has posted the receive
};

struct Span {
  Action action;  // one that computes
  double begin_seconds = 0, end_seconds = 0;
};

struct Simulation {
  bool finished = false;                 // every rank came to the end of its program
  std::vector<size_t> stopped_at;        // by rank: the index of the action it never did, or the length of its program
  std::vector<std::vector<Span>> spans;  // by rank
  double makespan_seconds = 0;

  double busy_seconds(int rank) const;
  double bubble() const;  // the share of all ranks' time in which they compute nothing
};

// Takes programs whose messages match (verify_pipeline says whether they do). Confluent: whether a program
// finishes depends on no costs.
// Where all ranks stand still, `unstick` may reorder what they have not done, from stopped_at on, and says whether it did.
using Unstick = std::function<bool(const std::vector<size_t>& stopped_at)>;
Simulation simulate(const PipelineProgram& program, const PipelineCosts& costs, SendMode mode, const Unstick& unstick = {});

}  // namespace longspan
