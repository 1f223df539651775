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
  adopt(context, planned_);
  const bool by_times = spec.mesh.pipeline > 1 && spec.pipeline.schedule == PipelineSchedule::kZeroBubble;
  if (by_times && !state_share(spec, mesh).of_gradients()) {
    times_ = std::make_unique<BlockTimes>(planned_.shape);
  } else {
    planned_ = {};
  }
}

void StepProgram::adopt(const Context& context, PipelineProgram programs) {
  agree_on_programs(context, mesh_.world(), programs.ranks);
  programs.shape.reductions = reductions_;
  Program& own = programs.ranks.at(static_cast<size_t>(mesh_.coordinate(Axis::kPipeline)));
  own = with_reductions(own, programs.shape);
  verify_pipeline(programs);
  program_ = std::move(own);
}

std::string StepProgram::run(Context& context) {
  {
    const TraceRange range(context.tracer(), TimeCategory::kCompute, "zero gradients");
    decoder_.parameters().zero_gradients(context);
  }
  StepSums sums(context, mesh_, tied_table_, decoder_.parameters());
  stage_.run(context, program_, decoder_, sums, times_.get());
  // The first step also connects ranks, asks for memory and chooses kernels.
  constexpr int kMeasuredSteps = 2;
  if (!times_ || ++num_measured_steps_ < kMeasuredSteps) return {};
  return plan_again(context, times_->agree(context, mesh_.world(), pipeline_costs(spec_)));
}

std::string StepProgram::plan_again(const Context& context, const PipelineCosts& costs) {
  Replanned again = replan_zero_bubble(planned_, costs);
  adopt(context, std::move(again.program));
  planned_ = {};
  times_.reset();
  const std::string found = again.bubble < again.bubble_before
                                ? fmt::format("{:.1f} % of the time of all ranks is bubble, instead of", 100 * again.bubble)
                                : "no schedule has a smaller bubble than today's";
  return fmt::format("pipeline.schedule ZERO_BUBBLE, planned again by the times of its blocks: {} {:.1f} %", found,
                     100 * again.bubble_before);
}

}  // namespace longspan
