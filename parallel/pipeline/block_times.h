// BlockTimes: how long the blocks of a pipeline take, measured while its programs run, so that a schedule can go by what is and
// not by what operations suggest: attention has no gradient by weights, kernels reach different rates, links inside a block cost
// time.
#pragma once

#include <vector>

#include "core/runtime/context.h"
#include "parallel/comm/communicator.h"
#include "parallel/pipeline/pipeline_program.h"

namespace longspan {

class BlockTimes {
 public:
  explicit BlockTimes(const PipelineShape& shape);

  // Of an action that computes. Of several microbatches the least counts: the first ones also pack weights and ask for memory.
  void add(const Action& action, double seconds);

  // `planned`, by [chunk of a sequence, block], with the seconds that were measured: of the slowest of the ranks that hold a
  // block. Collective over `world`, all of whose ranks get the same.
  PipelineCosts agree(const Context& context, Communicator& world, const PipelineCosts& planned) const;

 private:
  PipelineShape shape_;
  std::vector<double> seconds_;  // [chunk of a sequence, block, kind]; 0 where nothing was measured
};

}  // namespace longspan
