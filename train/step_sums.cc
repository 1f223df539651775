#include "train/step_sums.h"

#include <algorithm>

#include "parallel/tensor/shared_gradients.h"

namespace longspan {

ReductionPlan reduction_plan(const ProcessMesh& mesh, const ParameterSet& parameters, const StateShare& share) {
  ReductionPlan plan;
  if (mesh.replicas().size() == 1) return plan;
  for (const Bucket& bucket : parameters.layout(share).buckets) plan.buckets.push_back({bucket.first_block, bucket.end_block});
  if (share.of_gradients()) plan.when = ReductionPlan::When::kEachMicrobatch;
  return plan;
}

StepSums::StepSums(Context& context, const ProcessMesh& mesh, TiedTable& tied_table, ParameterSet& parameters)
    : context_(context),
      mesh_(mesh),
      tied_table_(tied_table),
      parameters_(parameters),
      sums_(context, mesh.replicas(), parameters) {}

void StepSums::start(const Action& action) {
  const auto& buckets = parameters_.buckets();
  const auto bucket =
      std::find_if(buckets.begin(), buckets.end(), [&](const Bucket& b) { return b.first_block == action.block; });
  check(bucket != buckets.end(), "{}: no bucket begins with that block", action.to_string());
  SharedGradients(mesh_.axis(Axis::kTensor), parameters_, *bucket).reduce(context_);
  sums_.start(*bucket);
}

void StepSums::finish() {
  if (mesh_.replicas().size() == 1) SharedGradients(mesh_.axis(Axis::kTensor), parameters_).reduce(context_);
  sums_.finish();
  tied_table_.exchange(context_);
}

}  // namespace longspan
