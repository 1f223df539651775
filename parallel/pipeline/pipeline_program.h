// PipelineProgram: the programs of all ranks of a pipeline, and what they are about.
//
// A microbatch is a batch of whole sequences, or, with sequence_chunks n > 1, chunk m mod n of the sequences
// of group m / n (Seq1F1B: later chunks attend to earlier ones). Then chunks go forward in order and backward
// in reverse, as the gradients by keys and values of an earlier chunk come from later ones. Weight gradients
// are summed in one order in every program: sequences in order, and within one the chunks in reverse. So
// gradients do not depend on the schedule, to the last bit, unless ranks share them: then they are summed over the ranks after
// each microbatch, together with what the schedule has added by then.
#pragma once

#include "parallel/pipeline/placement.h"
#include "parallel/pipeline/program.h"

namespace longspan {

// Of which blocks gradients are summed together over the replicas while backward runs. Ranks know their own; of blocks in no
// bucket they are summed by REDUCE.
struct ReductionPlan {
  struct Blocks {
    int first = 0, end = 0;  // of one rank
    bool operator==(const Blocks&) const = default;
  };
  std::vector<Blocks> buckets = {};
  enum class When {
    kOnce,            // after the last W of the step
    kEachMicrobatch,  // after that of each microbatch, all chunks of its sequences
  } when = When::kOnce;
};

struct PipelineShape {
  Placement placement;
  int num_microbatches = 1;  // a multiple of sequence_chunks
  int sequence_chunks = 1;
  ReductionPlan reductions = {};

  // The k-th microbatch whose gradients are summed, and the other way round: when the gradients of microbatch
  // k are.
  int gradient_order(int k) const {
    const int chunk = k % sequence_chunks;
    return k - chunk + sequence_chunks - 1 - chunk;
  }
};

struct PipelineProgram {
  PipelineShape shape;
  std::vector<Program> ranks;  // by rank on the pipeline axis
};

// What a step costs, for schedules that go by it and for predictions. Any unit of time will do.
struct BlockCosts {
  double forward_seconds = 1, backward_input_seconds = 1, backward_weight_seconds = 1;
  int64_t stash_bytes = 0;  // of one microbatch
};

struct PipelineCosts {
  std::vector<BlockCosts> blocks = {BlockCosts{}};  // one for all, or by block, or by [chunk of a sequence, block]
  std::vector<int64_t> message_bytes = {};          // between two ranks: none, one for all, or by chunk of a sequence
  double seconds_per_message = 0, seconds_per_byte = 0;

  const BlockCosts& of(const PipelineShape& shape, int microbatch, int block) const;
  int64_t bytes_of_message(const PipelineShape& shape, int microbatch) const;
  double seconds_of_message(const PipelineShape& shape, int microbatch) const;
  double seconds_of(const PipelineShape& shape, const Action& action) const;  // 0 for what computes nothing
};

// Raises unless the lists have one of the lengths above.
void check_costs(const PipelineCosts& costs, const PipelineShape& shape);

}  // namespace longspan
