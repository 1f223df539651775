// Program: what one rank does in a step, as data: a list of actions over (microbatch, block). A generator makes it, `verify`
// proves it sound and counts what it keeps, one executor interprets it (parallel/pipeline/executor.h).
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
    kReduce,          // sums the gradients over the replicas
  };
  Kind kind = Kind::kForward;
  int microbatch = 0;
  int block = 0;

  std::string to_string() const;  // "F(microbatch 0, block 3)"
  bool operator==(const Action&) const = default;
};

using Program = std::vector<Action>;

// One stage holds the whole model: for each microbatch all F in order, then B and W block by block from the last; one
// reduction at the end. A block's stash is gone before the next block's backward begins.
Program single_stage_program(int num_microbatches, int num_blocks);

struct ProgramFacts {
  int peak_stashes = 0;  // (microbatch, block) stashes alive at once
};

// Raises Error(kInternal) naming the first action that breaks a rule: each F, B and W once for every pair, F after F of
// the block before, B after its F and after B of the block behind, W after its B, one reduction after the last W.
ProgramFacts verify(const Program& program, int num_microbatches, int num_blocks);

}  // namespace longspan
