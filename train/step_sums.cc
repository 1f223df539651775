#include "train/step_sums.h"

#include <algorithm>

#include "parallel/tensor/shared_gradients.h"

namespace longspan {

ReductionPlan reduction_plan(const ProcessMesh& mesh, const Decoder& decoder, const FlatLayout& layout) {
  ReductionPlan plan;
  if (mesh.replicas().size() == 1) return plan;
  const Parameter* half = decoder.half_of_tied_table();
  for (const Bucket& bucket : layout.buckets) {
    const bool waits = half && half->first_block >= bucket.first_block && half->first_block < bucket.end_block;
    if (!waits) plan.buckets.push_back({bucket.first_block, bucket.end_block});
  }
  return plan;
}

StepSums::StepSums(Context& context, const ProcessMesh& mesh, const TiedTable& tied_table, ParameterSet& parameters)
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
  start(*bucket);
}

void StepSums::start(const Bucket& bucket) {
  SharedGradients(mesh_.axis(Axis::kTensor), parameters_, bucket).reduce(context_);
  if (mesh_.replicas().size() > 1) sums_.start(bucket);
  started_.insert(&bucket);
}

void StepSums::finish() {
  tied_table_.sum(context_);
  for (const Bucket& bucket : parameters_.buckets()) {
    if (!started_.contains(&bucket)) start(bucket);
  }
  sums_.finish();
}

}  // namespace longspan
