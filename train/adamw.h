// AdamW over a model's parameters, with master weights and moments in the accumulator dtype.
#pragma once

#include <functional>
#include <string>

#include "core/nn/parameter.h"
#include "parallel/comm/communicator.h"
#include "train/run_spec.h"

namespace longspan {

// Euclidean norm of the gradients of the whole model, in double; the same bits on every rank. Collective where ranks share state,
// or the parameters (`parts`: those that hold the model between them). Not a number where any gradient of a rank is none, also
// one that another rank counts.
double gradient_norm(const Context& context, const ParameterSet& parameters, Communicator& replicas, Communicator& parts);

class AdamW {
 public:
  AdamW(const Context& context, ParameterSet& parameters, const OptimizerSpec& spec);

  // One update of this rank's parts; `step` counts from 1. Gradients are scaled by gradient_clip / norm where the norm is above
  // it. Where ranks share state, share_values follows.
  void step(const Context& context, int64_t step, double learning_rate, double gradient_norm);

  // Visits what a checkpoint must hold beside the masters: the end of the name, the part, and its state.
  using VisitState = std::function<void(const std::string& suffix, const ParameterSet::Part& part, const Tensor& state)>;
  void for_each_state(const VisitState& visit) const;

 private:
  struct Moments {
    Tensor first, second;  // as the part's master
  };
  ParameterSet& parameters_;
  OptimizerSpec spec_;
  std::vector<Moments> moments_;  // by part
};

}  // namespace longspan
