// A whole training step, forward to optimizer, of a small model on two fixed sequences: what it gives, on one rank or on a
// ring. Weights, tokens, rotary angles, losses and norms reach a device by copies alone.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "attention/sequence_layout.h"
#include "core/runtime/context.h"
#include "model/model_spec.h"
#include "parallel/comm/communicator.h"

namespace longspan::test {

ModelSpec small_spec(int64_t head_dim);

using NamedValues = std::vector<std::pair<std::string, std::vector<double>>>;
struct Step {
  double loss = 0, norm = 0;
  NamedValues gradients, weights;
};

Step one_step(Context& context, const ModelSpec& spec, int num_steps = 1);
// The same sequences and weights on a ring: loss and gradients, on each rank. No optimizer.
Step step_on_ring(Context& context, Communicator& ring, const ModelSpec& spec, LayoutType layout);

// Empty where loss, norm and gradients are those of `want`; else what is not.
std::string difference(const Step& got, const Step& want, double tolerance);
// A step moves each weight by about the learning rate, and in bfloat16 a gradient near zero may point the other way.
std::string difference_of_weights(const Step& got, const Step& want, double tolerance);

}  // namespace longspan::test
