// StepSums: the gradients of the global batch. Each bucket is first summed over the tensor axis, where its ranks hold the same of
// a parameter, and then, while backward goes on, over the replicas: in this order on all ranks, so that those who hold the same
// end with the same bits. Halves of a table that two stages of a pipeline have are added when those sums are there. Sums over the
// replicas have a group of their own until finish().
#pragma once

#include "model/tied_table.h"
#include "parallel/comm/process_mesh.h"
#include "parallel/data/shared_state.h"
#include "parallel/pipeline/executor.h"
#include "parallel/pipeline/pipeline_program.h"

namespace longspan {

// The sums that this rank's program begins before its end; none where nobody else holds the same parameters. Where ranks share
// gradients, those of each microbatch are summed, so that nobody keeps all of them.
ReductionPlan reduction_plan(const ProcessMesh& mesh, const ParameterSet& parameters, const StateShare& share);

class StepSums final : public GradientSums {
 public:
  // From the first backward to finish(). Collective, as its functions are.
  StepSums(Context& context, const ProcessMesh& mesh, TiedTable& tied_table, ParameterSet& parameters);
  void start(const Action& action) override;
  void finish() override;
  void after_compute() override { sums_.after_compute(); }
  bool under_way() const override { return sums_.under_way(); }

 private:
  Context& context_;
  const ProcessMesh& mesh_;
  TiedTable& tied_table_;
  ParameterSet& parameters_;
  BucketSums sums_;
};

}  // namespace longspan
