#include "train/pipeline_plan.h"

#include "core/base/error.h"

namespace longspan {

int num_microbatches_of(const RunSpec& spec) {
  const int64_t share = static_cast<int64_t>(spec.mesh.data) * spec.micro_batch_sequences;
  if (spec.global_batch_sequences % share != 0) {
    raise(ErrorKind::kConfiguration,
          "training.global_batch_sequences: {} is not a multiple of mesh.data {} x training.micro_batch_sequences {}",
          spec.global_batch_sequences, spec.mesh.data, spec.micro_batch_sequences);
  }
  return static_cast<int>(spec.global_batch_sequences / share);
}

PipelineCosts pipeline_costs(const RunSpec& spec) {
  const auto sequences = static_cast<double>(spec.micro_batch_sequences), length = static_cast<double>(spec.data.sequence_length);
  PipelineCosts costs{.blocks = {}};
  for (const BlockFlop& block : block_flop(spec.model, sequences * length, sequences * length * (length + 1) / 2)) {
    costs.blocks.push_back({.forward_seconds = block.forward,
                            .backward_input_seconds = block.backward_input,
                            .backward_weight_seconds = block.backward_weight,
                            .stash_bytes = 1});
  }
  costs.blocks.front().stash_bytes = costs.blocks.back().stash_bytes = 0;
  return costs;
}

Placement place_model(const RunSpec& spec) {
  const int blocks = num_blocks(spec.model), stages = spec.mesh.pipeline, chunks = spec.pipeline.chunks_per_stage;
  const std::string has = fmt::format("the {} blocks of this model (embedding, {} layers, head)", blocks, spec.model.num_layers);
  if (blocks < stages) {
    raise(ErrorKind::kConfiguration, "mesh.pipeline: is {}, more than {}; use {} or fewer", stages, has, blocks);
  }
  if (blocks / stages < chunks) {
    raise(ErrorKind::kConfiguration, "pipeline.chunks_per_stage: {} chunks on each of {} stages are more than {}; use {} or fewer",
          chunks, stages, has, blocks / stages);
  }
  std::vector<double> costs;
  for (const BlockCosts& block : pipeline_costs(spec).blocks) {
    costs.push_back(block.forward_seconds + block.backward_input_seconds + block.backward_weight_seconds);
  }
  return place_blocks(costs, stages, chunks);
}

PipelineProgram plan_pipeline(const RunSpec& spec) {
  const PipelineShape shape = {.placement = place_model(spec), .num_microbatches = num_microbatches_of(spec)};
  try {
    return make_pipeline_program(spec.pipeline.schedule, shape, pipeline_costs(spec));
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kConfiguration) throw;
    raise(ErrorKind::kConfiguration, "pipeline.schedule: {}", error.what());
  }
}

}  // namespace longspan
