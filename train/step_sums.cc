#include "train/step_sums.h"

#include <algorithm>

#include "parallel/tensor/shared_gradients.h"

namespace longspan {

ReductionPlan reduction_plan(const ProcessMesh& mesh, const Decoder& decoder, const StateShare& share) {
  ReductionPlan plan;
  if (mesh.replicas().size() == 1) return plan;
  const Parameter* half = decoder.half_of_tied_table();
  for (const Bucket& bucket : decoder.parameters().layout(share).buckets) {
    const bool waits = half && half->first_block >= bucket.first_block && half->first_block < bucket.end_block;
    if (!waits) plan.buckets.push_back({bucket.first_block, bucket.end_block});
  }
  if (share.of_gradients()) plan.when = ReductionPlan::When::kEachMicrobatch;
  return plan;
}

StepSums::StepSums(Context& context, const ProcessMesh& mesh, const TiedTable& tied_table, ParameterSet& parameters)
    : context_(context),
      mesh_(mesh),
      tied_table_(tied_table),
      parameters_(parameters),
      sums_(context, mesh.replicas(), parameters),
      started_(parameters.buckets().size(), false) {}

void StepSums::start(const Action& action) {
  const auto& buckets = parameters_.buckets();
  const auto bucket =
      std::find_if(buckets.begin(), buckets.end(), [&](const Bucket& b) { return b.first_block == action.block; });
  check(bucket != buckets.end(), "{}: no bucket begins with that block", action.to_string());
  start(*bucket);
}

void StepSums::start(const Bucket& bucket) {
  SharedGradients(mesh_.axis(Axis::kTensor), parameters_, bucket).reduce(context_);
  sums_.start(bucket);
  started_.at(static_cast<size_t>(&bucket - parameters_.buckets().data())) = true;
}

void StepSums::finish() {
  tied_table_.sum(context_);
  if (mesh_.replicas().size() == 1) return SharedGradients(mesh_.axis(Axis::kTensor), parameters_).reduce(context_);
  for (size_t i = started_.size(); i-- > 0;) {
    if (!started_[i]) start(parameters_.buckets()[i]);
  }
  sums_.finish();
}

}  // namespace longspan
