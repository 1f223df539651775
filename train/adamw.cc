#include "train/adamw.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/kernels/optimizer.h"
#include "parallel/tensor/shared_gradients.h"

namespace longspan {

namespace {

// This rank's gradients: those that count in the norm of the whole model, and those that another rank counts.
struct Counted {
  std::vector<Tensor> here, elsewhere;
};

Counted counted_of(const ParameterSet& parameters, const std::vector<TensorPiece>& pieces) {
  Counted counted;
  const auto add = [&](std::vector<Tensor>& to, int64_t begin, int64_t end) {
    if (begin < end) to.push_back(parameters.own_gradients({begin, end}));
  };
  for (const FlatRange& range : parameters.own_ranges()) {
    int64_t next = range.begin;
    for (const TensorPiece& piece : pieces) {
      const int64_t begin = std::max(piece.begin, next), end = std::min(piece.end, range.end);
      if (begin >= end) continue;
      add(counted.elsewhere, next, begin);
      add(counted.here, begin, end);
      next = end;
    }
    add(counted.elsewhere, next, range.end);
  }
  return counted;
}

}  // namespace

double gradient_norm(const Context& context, const ParameterSet& parameters, Communicator& replicas,
                     Communicator& parts) {
  const auto& kernel = context.kernels<OptimizerKernels>();
  std::vector<TensorPiece> pieces = {{0, std::numeric_limits<int64_t>::max()}};
  if (parts.size() > 1) pieces = counted_ranges(parameters);
  const Counted counted = counted_of(parameters, pieces);
  const Context& host = context.host();
  const Tensor sum = host.empty({1}, DType::kFloat64, MemoryTag::kWorkspace);
  *sum.data<double>() = kernel.sum_of_squares(context, counted.here);
  // Of what ranks hold alike one counts, but each updates its own.
  const bool sound = counted.elsewhere.empty() || std::isfinite(kernel.sum_of_squares(context, counted.elsewhere));
  if (!sound) *sum.data<double>() = std::nan("");
  if (parameters.share().num_ranks > 1) replicas.all_reduce(host.stream(), sum, ReduceOp::kSum);
  if (parts.size() > 1) parts.all_reduce(host.stream(), sum, ReduceOp::kSum);
  return std::sqrt(*sum.data<double>());
}

AdamW::AdamW(const Context& context, ParameterSet& parameters, const OptimizerSpec& spec)
    : parameters_(parameters), spec_(spec) {
  for (const ParameterSet::Part& part : parameters.parts()) {
    moments_.push_back({.first = context.zeros(part.master.shape(), part.master.dtype(), MemoryTag::kOptimizer),
                        .second = context.zeros(part.master.shape(), part.master.dtype(), MemoryTag::kOptimizer)});
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
    const ParameterSet::Part& part = parameters_.parts()[i];
    const bool decays = spec_.decay == OptimizerSpec::Decay::kAll || part.parameter->shape.rank() >= 2;
    options.weight_decay = decays ? spec_.weight_decay : 0;
    context.kernels<OptimizerKernels>().adamw(context, options, part.gradient, part.master, moments_[i].first,
                                              moments_[i].second, part.value);
  }
  if (parameters_.share().num_ranks == 1) parameters_.pack_values(context);
}

void AdamW::for_each_state(const VisitState& visit) const {
  for (size_t i = 0; i < moments_.size(); ++i) {
    const ParameterSet::Part& part = parameters_.parts()[i];
    visit(".first_moment", part, moments_[i].first);
    visit(".second_moment", part, moments_[i].second);
  }
}

}  // namespace longspan
