// AdamW over a model's parameters, with master weights and moments in the accumulator dtype.
#pragma once

#include <functional>
#include <string>

#include "core/nn/parameter.h"
#include "train/run_spec.h"

namespace longspan {

// Euclidean norm of all gradients, in double; the same bits on every rank that holds the same gradients.
double gradient_norm(const Context& context, const ParameterSet& parameters);

class AdamW {
 public:
  AdamW(const Context& context, ParameterSet& parameters, const OptimizerSpec& spec);

  // One update; `step` counts from 1. Gradients are scaled by gradient_clip / norm where the norm is above it.
  void step(const Context& context, int64_t step, double learning_rate, double gradient_norm);

  // Visits what a checkpoint must hold: name, tensor, what it is of the whole.
  using VisitState = std::function<void(const std::string& name, const Tensor& tensor, const Box& box)>;
  void for_each_state(const VisitState& visit) const;

 private:
  struct Moments {
    Tensor first, second;  // as the parameter's master
  };
  ParameterSet& parameters_;
  OptimizerSpec spec_;
  std::vector<Moments> moments_;
};

}  // namespace longspan
