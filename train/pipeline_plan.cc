#include "train/pipeline_plan.h"

#include "core/base/error.h"
#include "train/check_mesh.h"

namespace longspan {

int num_microbatches_of(const RunSpec& spec) {
  const std::string problem = problem_of_batch(spec);
  if (!problem.empty()) raise(ErrorKind::kConfiguration, "training.global_batch_sequences: {}", problem);
  return static_cast<int>(spec.global_batch_sequences / (spec.mesh.data * spec.micro_batch_sequences));
}

namespace {

// Of tokens [begin, end) of so many sequences.
void add_costs(const ModelSpec& model, double sequences, double begin, double end, std::vector<BlockCosts>& costs) {
  const double pairs = (end * (end + 1) - begin * (begin + 1)) / 2;
  const size_t first = costs.size();
  for (const BlockFlop& block : block_flop(model, sequences * (end - begin), sequences * pairs)) {
    costs.push_back({.forward_seconds = block.forward,
                     .backward_input_seconds = block.backward_input,
                     .backward_weight_seconds = block.backward_weight,
                     .stash_bytes = 1});
  }
  costs[first].stash_bytes = costs.back().stash_bytes = 0;
}

void expect_sequence_chunks(const RunSpec& spec) {
  const int chunks = spec.pipeline.sequence_chunks;
  if (chunks == 1) return;
  if (spec.mesh.context > 1) {
    raise(ErrorKind::kConfiguration,
          "pipeline.sequence_chunks: is {}, but mesh.context is {}: a sequence is cut for stages or for ranks; use 1 for one of "
          "them",
          chunks, spec.mesh.context);
  }
  if (chunks > spec.data.sequence_length) {
    raise(ErrorKind::kConfiguration, "pipeline.sequence_chunks: is {}, more than the {} tokens of a sequence; use {} or fewer",
          chunks, spec.data.sequence_length, spec.data.sequence_length);
  }
}

}  // namespace

PipelineCosts pipeline_costs(const RunSpec& spec) {
  const auto sequences = static_cast<double>(spec.micro_batch_sequences), length = static_cast<double>(spec.data.sequence_length);
  const double chunk_length = length / spec.pipeline.sequence_chunks;
  PipelineCosts costs{.blocks = {}};
  for (int chunk = 0; chunk < spec.pipeline.sequence_chunks; ++chunk) {
    add_costs(spec.model, sequences, chunk * chunk_length, (chunk + 1) * chunk_length, costs.blocks);
  }
  return costs;
}

Placement place_model(const RunSpec& spec) {
  if (const auto problem = problem_of_stages(spec)) raise(ErrorKind::kConfiguration, "{}: {}", problem->field, problem->what);
  const auto sequences = static_cast<double>(spec.micro_batch_sequences), length = static_cast<double>(spec.data.sequence_length);
  std::vector<double> costs;
  for (const BlockFlop& block : block_flop(spec.model, sequences * length, sequences * length * (length + 1) / 2)) {
    costs.push_back(block.total());
  }
  return place_blocks(costs, spec.mesh.pipeline, spec.pipeline.chunks_per_stage);
}

PipelineProgram plan_pipeline(const RunSpec& spec) {
  expect_sequence_chunks(spec);
  const int chunks = spec.pipeline.sequence_chunks;
  const PipelineShape shape = {.placement = place_model(spec),
                               .num_microbatches = num_microbatches_of(spec) * chunks,
                               .sequence_chunks = chunks};
  try {
    return make_pipeline_program(spec.pipeline.schedule, shape, pipeline_costs(spec));
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kConfiguration) throw;
    raise(ErrorKind::kConfiguration,
          "pipeline.schedule: {}; training.global_batch_sequences {} makes {} microbatches, pipeline.chunks_per_stage is {}",
          error.what(), spec.global_batch_sequences, shape.num_microbatches, spec.pipeline.chunks_per_stage);
  }
}

}  // namespace longspan
