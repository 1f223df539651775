#include "train/step_program.h"

#include "parallel/pipeline/reductions.h"
#include "train/model_state.h"
#include "train/pipeline_plan.h"
#include "train/step_sums.h"

namespace longspan {

StepProgram::StepProgram(const RunSpec& spec, const ProcessMesh& mesh, PipelineStage& stage, Decoder& decoder)
    : mesh_(mesh),
      stage_(stage),
      decoder_(decoder),
      tied_table_(mesh, decoder) {
  const StateShare share = state_share(spec, mesh);
  stage.share_state(mesh, decoder, share);
  PipelineProgram programs = plan_pipeline(spec);
  programs.shape.reductions = reduction_plan(mesh, decoder, share);
  Program& own = programs.ranks.at(static_cast<size_t>(mesh.coordinate(Axis::kPipeline)));
  own = with_reductions(own, programs.shape);
  verify_pipeline(programs);
  program_ = std::move(own);
}

void StepProgram::run(Context& context) {
  {
    const TraceRange range(context.tracer(), TimeCategory::kCompute, "zero gradients");
    decoder_.parameters().zero_gradients(context);
  }
  StepSums sums(context, mesh_, tied_table_, decoder_.parameters());
  stage_.run(context, program_, decoder_, sums);
}

}  // namespace longspan
