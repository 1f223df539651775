#include "train/adamw.h"

#include <cmath>

#include "core/kernels/optimizer.h"

namespace longspan {

double gradient_norm(const Context& context, const ParameterSet& parameters) {
  return std::sqrt(context.kernels<OptimizerKernels>().sum_of_squares(context, parameters.gradients()));
}

AdamW::AdamW(const Context& context, ParameterSet& parameters, const OptimizerSpec& spec)
    : parameters_(parameters), spec_(spec) {
  for (const auto& p : parameters.all()) {
    moments_.push_back({.first = context.zeros(p->shape, p->master.dtype(), MemoryTag::kOptimizer),
                        .second = context.zeros(p->shape, p->master.dtype(), MemoryTag::kOptimizer)});
  }
}

void AdamW::step(const Context& context, int64_t step, double learning_rate, double gradient_norm) {
  AdamWOptions options = {.learning_rate = learning_rate,
                          .beta1 = spec_.beta1,
                          .beta2 = spec_.beta2,
                          .epsilon = spec_.epsilon,
                          .step = step};
  const bool clips = spec_.gradient_clip > 0 && gradient_norm > spec_.gradient_clip;
  options.gradient_scale = clips ? spec_.gradient_clip / gradient_norm : 1;
  for (size_t i = 0; i < moments_.size(); ++i) {
    const Parameter& p = *parameters_.all()[i];
    const bool decays = spec_.decay == OptimizerSpec::Decay::kAll || p.shape.rank() >= 2;
    options.weight_decay = decays ? spec_.weight_decay : 0;
    context.kernels<OptimizerKernels>().adamw(context, options, p.gradient, p.master, moments_[i].first,
                                              moments_[i].second, p.value);
  }
  parameters_.pack_values(context);
}

void AdamW::for_each_state(const VisitState& visit) const {
  for (size_t i = 0; i < moments_.size(); ++i) {
    const Parameter& p = *parameters_.all()[i];
    visit(p.name + ".first_moment", moments_[i].first, p.box);
    visit(p.name + ".second_moment", moments_[i].second, p.box);
  }
}

}  // namespace longspan
