#include "parallel/pipeline/block_times.h"

#include <algorithm>

#include "core/base/error.h"

namespace longspan {

namespace {

constexpr size_t kKinds = 3;  // F, B and W
static_assert(static_cast<size_t>(Action::Kind::kBackwardWeight) + 1 == kKinds);

}  // namespace

BlockTimes::BlockTimes(const PipelineShape& shape)
    : shape_(shape), seconds_(static_cast<size_t>(shape.sequence_chunks * shape.placement.num_blocks()) * kKinds, 0) {}

void BlockTimes::add(const Action& action, double seconds) {
  check(action.computes(), "{} has no time of its own", action.to_string());
  const int row = action.microbatch % shape_.sequence_chunks * shape_.placement.num_blocks() + action.block;
  double& least = seconds_.at(static_cast<size_t>(row) * kKinds + static_cast<size_t>(action.kind));
  least = least > 0 ? std::min(least, seconds) : seconds;
}

PipelineCosts BlockTimes::agree(const Context& context, Communicator& world, const PipelineCosts& planned) const {
  check(planned.blocks.size() * kKinds == seconds_.size(), "costs of {} blocks for times of {}", planned.blocks.size(),
        seconds_.size() / kKinds);
  const Context& host = context.host();
  const Tensor all = host.empty({static_cast<int64_t>(seconds_.size())}, DType::kFloat64, MemoryTag::kWorkspace);
  std::copy(seconds_.begin(), seconds_.end(), all.data<double>());
  world.all_reduce(host.stream(), all, ReduceOp::kMax);
  PipelineCosts costs = planned;
  const auto* seconds = all.data<double>();
  for (BlockCosts& block : costs.blocks) {
    block.forward_seconds = *seconds++;
    block.backward_input_seconds = *seconds++;
    block.backward_weight_seconds = *seconds++;
  }
  return costs;
}

}  // namespace longspan
