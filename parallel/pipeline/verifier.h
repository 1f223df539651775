// Verifier: proves the programs of all ranks sound, before anything runs, and counts what they keep and move.
//
// Of each rank: F, B and W once for every microbatch and block of its own. F after F of the block before, or
// after the receive of that; B after its F and after B of the block behind, or after the receive of that; W
// after its B. A block's F are in the order of microbatches, its W in that of PipelineShape::gradient_order,
// so that sums have one order in all schedules; its B within a sequence go from the last chunk to the first.
// What leaves is sent once, after it is computed, to the rank that holds the block; what arrives is received
// once. Each bucket of PipelineShape::reductions is started as often as they say, after W of all its blocks, in the
// order of gradients. One reduction, after the last W and the last message. Of all ranks: messages from one rank to another
// are received in the order in which they are sent, and nobody waits for ever, even if a send holds its rank
// until the peer has posted the receive. Then any number of sends may be under way. Posting a receive holds nobody (PipelineLink
// sees to that).
//
// Ranks that share gradients with others, in other pipelines or as parts of one cell, run the same program, so that their
// collectives stand at the same actions: all of them side by side end whenever one pipeline does. A step compares what its ranks
// have planned.
#pragma once

#include "parallel/pipeline/simulation.h"

namespace longspan {

struct RankFacts {
  int peak_stashes = 0;          // (microbatch, block) stashes alive at once, from F to the end of W
  int64_t peak_stash_bytes = 0;  // the most they hold at once
  int peak_receives = 0;         // buffers for what is posted or there, and not yet read
  int64_t messages_sent = 0, messages_received = 0;
  int64_t bytes_sent = 0, bytes_received = 0;
  double busy_seconds = 0;
};

struct PipelineFacts {
  std::vector<RankFacts> ranks;
  double makespan_seconds = 0;
  double bubble = 0;  // the share of all ranks' time in which they compute nothing
};

// Raises Error(kInternal) naming the first action that breaks a rule, and its rank.
PipelineFacts verify_pipeline(const PipelineProgram& program, const PipelineCosts& costs = {});

}  // namespace longspan
