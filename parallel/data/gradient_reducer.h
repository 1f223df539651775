// Sums gradients over the ranks that hold the same parameters. Losses are scaled by the global token count before the
// first backward, so a sum, never a mean of means, is the gradient of the global batch.
#pragma once

#include "core/nn/parameter.h"
#include "parallel/comm/communicator.h"

namespace longspan {

class GradientReducer {
 public:
  GradientReducer(Communicator& replicas, ParameterSet& parameters) : replicas_(replicas), parameters_(parameters) {}
  // Collective; in place. The same order of summation, hence the same bits, for a given number of ranks.
  void reduce(Context& context) { replicas_.all_reduce(context.stream(), parameters_.gradients(), ReduceOp::kSum); }

 private:
  Communicator& replicas_;
  ParameterSet& parameters_;
};

}  // namespace longspan
