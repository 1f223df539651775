// Program: what one rank does in a step, as data: a list of actions over (microbatch, block). A generator makes it, `verify`
// proves it sound and counts what it keeps, one executor interprets it (parallel/pipeline/executor.h). The programs of
// several ranks are a PipelineProgram (parallel/pipeline/pipeline_program.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace longspan {

struct Action {
  enum class Kind {
    kForward,         // F: a block's forward
    kBackwardInput,   // B: its gradient by the input
    kBackwardWeight,  // W: its gradient by the parameters
    kReduce,          // the gradients are summed over the replicas: all that were not begun are, and all are waited for
    kStartReduce,     // the sum of a bucket's begins (parallel/pipeline/reductions.h); `block`: the bucket's first
    // What goes between ranks that hold neighbouring blocks. `block` is always this rank's: its output leaves or the gradient by
    // its input; its input arrives or the gradient by its output. A send is under way until the peer has posted its receive;
    // a receive is posted here, and waited for by the action that reads it.
    kSendActivation,
    kReceiveActivation,
    kSendGradient,
    kReceiveGradient,
  };
  Kind kind = Kind::kForward;
  int microbatch = 0;
  int block = 0;
  int peer = -1;  // of messages: the other rank on the pipeline axis

  bool computes() const { return kind < Kind::kReduce; }
  bool sends() const { return kind == Kind::kSendActivation || kind == Kind::kSendGradient; }
  bool receives() const { return kind == Kind::kReceiveActivation || kind == Kind::kReceiveGradient; }
  std::string to_string() const;  // "F(microbatch 0, block 3)", "SEND_GRADIENT(microbatch 0, block 3, to rank 1)"
  bool operator==(const Action&) const = default;
};

using Program = std::vector<Action>;

// One stage holds the whole model: for each microbatch all F in order, then B and W block by block from the last; one
// reduction at the end. A block's stash is gone before the next block's backward begins.
Program single_stage_program(int num_microbatches, int num_blocks);

struct ProgramFacts {
  int peak_stashes = 0;  // (microbatch, block) stashes alive at once
};

// Of a program that runs alone: parallel/pipeline/verifier.h with one rank. Raises Error(kInternal) naming the first action that
// breaks a rule: each F, B and W once for every pair, F after F of the block before, B after its F and after B of the block
// behind, W after its B, F and W of a block in the order of microbatches, one reduction after the last W.
ProgramFacts verify(const Program& program, int num_microbatches, int num_blocks);

}  // namespace longspan
