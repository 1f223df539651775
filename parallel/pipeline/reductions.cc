#include "parallel/pipeline/reductions.h"

#include <algorithm>

namespace longspan {

Program with_reductions(const Program& program, const PipelineShape& shape) {
  const auto& [buckets, when] = shape.reductions;
  std::vector<int> num_weights(static_cast<size_t>(shape.placement.num_blocks()), 0);  // W by block, so far
  std::vector<int> num_done(buckets.size(), 0);                                        // microbatches by bucket
  Program with;
  for (const Action& action : program) {
    with.push_back(action);
    if (action.kind != Action::Kind::kBackwardWeight) continue;
    ++num_weights[static_cast<size_t>(action.block)];
    for (size_t i = 0; i < buckets.size(); ++i) {
      const auto [first, end] = buckets[i];
      if (action.block < first || action.block >= end) continue;
      const int done = *std::min_element(num_weights.begin() + first, num_weights.begin() + end);
      if (done == num_done[i]) continue;
      num_done[i] = done;
      if (when == ReductionPlan::When::kOnce && done < shape.num_microbatches) continue;
      if (done % shape.sequence_chunks != 0) continue;
      with.push_back({Action::Kind::kStartReduce, shape.gradient_order(done - 1), first});
    }
  }
  return with;
}

}  // namespace longspan
