#include "train/step_program.h"

#include "parallel/pipeline/reductions.h"
#include "parallel/pipeline/verifier.h"
#include "train/step_sums.h"

namespace longspan {

StepProgram::StepProgram(const ProcessMesh& mesh, Decoder& decoder, int num_microbatches, const StateShare& share)
    : mesh_(mesh), decoder_(decoder), shared_(mesh, decoder, share) {
  const int num_blocks = static_cast<int>(decoder.stage().size());
  const PipelineShape shape{.placement = single_rank_placement(num_blocks),
                            .num_microbatches = num_microbatches,
                            .reductions = reduction_plan(mesh, decoder.parameters().layout(share), share)};
  program_ = with_reductions(single_stage_program(num_microbatches, num_blocks), shape);
  verify_pipeline({.shape = shape, .ranks = {program_}});
}

void StepProgram::run(Context& context) {
  {
    const TraceRange range(context.tracer(), TimeCategory::kCompute, "zero gradients");
    decoder_.parameters().zero_gradients(context);
  }
  StepSums sums(context, mesh_, decoder_.parameters());
  shared_.begin(program_);
  execute(context, program_, decoder_.stage(), sums);
  shared_.end();
}

}  // namespace longspan
