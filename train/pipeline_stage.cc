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
    : placement_(place_model(spec)), link_(mesh.axis(Axis::kPipeline)) {
  const auto rank = static_cast<size_t>(link_.rank());
  forward_ = make_forward_program({.placement = placement_, .num_microbatches = 1}).ranks.at(rank);
}

void PipelineStage::run(Context& context, const Program& program, Decoder& decoder, GradientSums& sums, BlockTimes* times) {
  if (placement_.num_ranks == 1) return execute(context, program, decoder.stage(), sums);
  const PipelineRank rank = {.link = link_,
                             .placement = placement_,
                             .new_message = [&](int microbatch) { return decoder.new_message(context, microbatch); },
                             .times = times};
  execute(context, program, decoder.stage(), sums, &rank);
}

Tensor PipelineStage::losses(Context& context, Decoder& decoder, Microbatch batch) {
  std::vector<Microbatch>& microbatches = decoder.microbatches();
  check(microbatches.empty(), "an evaluation between the {} microbatches of a step", microbatches.size());
  microbatches.push_back(std::move(batch));
  NoSums none;
  run(context, forward_, decoder, none);
  Tensor losses = std::move(microbatches.front().losses);
  microbatches.clear();
  return losses;
}

}  // namespace longspan
