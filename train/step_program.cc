#include "train/step_program.h"

#include "parallel/pipeline/reductions.h"
#include "train/agreement.h"
#include "train/model_state.h"
#include "train/pipeline_plan.h"
#include "train/step_sums.h"

namespace longspan {

StepProgram::StepProgram(const Context& context, const RunSpec& spec, const ProcessMesh& mesh, PipelineStage& stage,
                         Decoder& decoder)
    : spec_(spec),
      mesh_(mesh),
      stage_(stage),
      decoder_(decoder),
      tied_table_(mesh, decoder, state_share(spec, mesh)),
      reductions_(reduction_plan(mesh, decoder.parameters(), state_share(spec, mesh))),
      planned_(plan_pipeline(spec)) {
  const StateShare share = state_share(spec, mesh);
  stage.share_state(mesh, decoder, share);
  adopt(context, planned_);
  const bool by_times = spec.mesh.pipeline > 1 && spec.pipeline.schedule == PipelineSchedule::kZeroBubble;
  if (by_times && !share.of_gradients()) {
    times_ = std::make_unique<BlockTimes>(planned_.shape);
  } else {
    planned_ = {};
  }
}

void StepProgram::adopt(const Context& context, PipelineProgram programs) {
  programs.shape.reductions = reductions_;
  Program& own = programs.ranks.at(static_cast<size_t>(mesh_.coordinate(Axis::kPipeline)));
  own = with_reductions(own, programs.shape);
  verify_pipeline(programs);
  agree_on_program(context, mesh_.replicas(), own);
  agree_on_program(context, mesh_.axis(Axis::kTensor), own);
  program_ = std::move(own);
}

std::string StepProgram::run(Context& context) {
  {
    const TraceRange range(context.tracer(), TimeCategory::kCompute, "zero gradients");
    decoder_.parameters().zero_gradients(context);
  }
  StepSums sums(context, mesh_, tied_table_, decoder_.parameters());
  stage_.run(context, program_, decoder_, sums, times_.get());
  return times_ ? plan_by_times(context) : std::string();
}

std::string StepProgram::plan_by_times(const Context& context) {
  const PipelineCosts costs = times_->agree(context, mesh_.world(), pipeline_costs(spec_));
  PipelineProgram programs = replan_zero_bubble(planned_, costs);
  const double before = verify_pipeline(planned_, costs).bubble, after = verify_pipeline(programs, costs).bubble;
  adopt(context, std::move(programs));
  planned_ = {};
  times_.reset();
  const std::string found = after < before ? fmt::format("{:.1f} % of the time of all ranks is bubble, instead of", 100 * after)
                                           : "no schedule has a smaller bubble than today's";
  return fmt::format("pipeline.schedule ZERO_BUBBLE, planned again by the times of this step: {} {:.1f} %", found, 100 * before);
}

}  // namespace longspan
