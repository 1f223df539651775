#include "train/pipeline_stage.h"

#include "train/pipeline_plan.h"

namespace longspan {

namespace {

// Of a forward alone.
class NoSums final : public GradientSums {
 public:
  void start(const Action& action) override { check(false, "{} without a backward", action.to_string()); }
  void finish() override {}
};

}  // namespace

PipelineStage::PipelineStage(const RunSpec& spec, const ProcessMesh& mesh)
    : placement_(place_model(spec)), link_(mesh.axis(Axis::kPipeline)) {}

void PipelineStage::share_state(const ProcessMesh& mesh, Decoder& decoder, const StateShare& share) {
  shared_ = std::make_unique<SharedStage>(mesh, blocks(), decoder, share);
}

void PipelineStage::run(Context& context, const Program& program, Decoder& decoder, GradientSums& sums, BlockTimes* times) {
  if (shared_) shared_->begin(program);
  const PipelineRank rank = {.link = link_,
                             .placement = placement_,
                             .new_message = [&](int microbatch) { return decoder.new_message(context, microbatch); },
                             .times = times};
  execute(context, program, decoder.stage(), sums, placement_.num_ranks == 1 ? nullptr : &rank);
  if (shared_) shared_->end();
}

void PipelineStage::run_forward(Context& context, Decoder& decoder) {
  const auto num_microbatches = static_cast<int>(decoder.microbatches().size());
  const PipelineProgram forward = make_forward_program({.placement = placement_, .num_microbatches = num_microbatches});
  NoSums none;
  run(context, forward.ranks.at(static_cast<size_t>(link_.rank())), decoder, none);
}

}  // namespace longspan
