#include "train/step_program.h"

#include "train/model_state.h"
#include "train/pipeline_plan.h"

namespace longspan {

StepProgram::StepProgram(const RunSpec& spec, const ProcessMesh& mesh, PipelineStage& stage, Decoder& decoder)
    : mesh_(mesh), stage_(stage), decoder_(decoder), tied_table_(mesh, decoder) {
  PipelineProgram programs = plan_pipeline(spec);
  verify_pipeline(programs);
  program_ = std::move(programs.ranks.at(static_cast<size_t>(mesh.coordinate(Axis::kPipeline))));
}

void StepProgram::run(Context& context) {
  {
    const TraceRange range(context.tracer(), TimeCategory::kCompute, "zero gradients");
    decoder_.parameters().zero_gradients(context);
  }
  stage_.run(context, program_, decoder_, [&] {
    tied_table_.sum(context);
    sum_gradients(context, mesh_, decoder_.parameters());
  });
}

}  // namespace longspan
