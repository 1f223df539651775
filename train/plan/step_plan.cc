#include "train/plan/step_plan.h"

#include <algorithm>
#include <numeric>
#include <ranges>

#include "attention/sequence_area.h"
#include "core/base/error.h"
#include "train/check_mesh.h"
#include "train/pipeline_plan.h"
#include "train/plan/held_parameters.h"

namespace longspan {

namespace {

double as_double(int64_t value) { return static_cast<double>(value); }

// Pairs of a query and a key that it sees, of a microbatch whose sequences are one document each: of all ranks of the context
// axis, and of the one with most. Ranks that exchange heads for tokens all have the mean of their group.
struct Pairs {
  double all = 0, most = 0;
  int idle_ranks = 0;  // which have none
};

Pairs pairs_of(const RunSpec& spec) {
  const BatchShape batch = {.sequence_length = spec.data.sequence_length, .num_sequences = spec.micro_batch_sequences};
  const std::vector<double> own = areas_of_batch(spec.layout, spec.mesh.context, batch);
  const auto together = static_cast<size_t>(exchanging_ranks(spec.context.scheme, group_ranks(spec), spec.mesh.context));
  double most = 0;
  for (size_t first = 0; first < own.size(); first += together) {
    const auto begin = own.begin() + static_cast<std::ptrdiff_t>(first), end = begin + static_cast<std::ptrdiff_t>(together);
    most = std::max(most, std::accumulate(begin, end, 0.0) / static_cast<double>(together));
  }
  return {.all = std::accumulate(own.begin(), own.end(), 0.0),
          .most = most,
          .idle_ranks = static_cast<int>(std::count(own.begin(), own.end(), 0.0))};
}

// Operations of the blocks with one microbatch, or with one chunk of its sequences, on the rank with most of the pairs.
class BlockWork {
 public:
  BlockWork(const RunSpec& spec, int sequence_chunks, double stash_bytes) : spec_(spec), chunks_(sequence_chunks) {
    const double share = 1.0 / spec.mesh.tensor;
    tokens_ = as_double(spec.data.sequence_length) * as_double(spec.micro_batch_sequences) / spec.mesh.context / chunks_ * share;
    pairs_ = pairs_of(spec).most * share;
    // The verifier sums them up over layers and microbatches.
    const double most = std::max(stash_bytes, tokens_ * as_double(spec.model.hidden_size) * sizeof(double)) *
                        as_double(spec.model.num_layers) * num_microbatches_of(spec);
    if (most > 0x1p62) {
      raise(ErrorKind::kConfiguration,
            "data.sequence_length: {} tokens of training.micro_batch_sequences {} make a rank keep and send more bytes in a step "
            "than 64 bits count; lower one of them, or raise mesh.context",
            spec.data.sequence_length, spec.micro_batch_sequences);
    }
    stash_bytes_ = static_cast<int64_t>(stash_bytes / chunks_);
  }

  BlockCosts layer(int chunk) const {
    const ModelSpec& m = spec_.model;
    const double weights = as_double(m.hidden_size) * (as_double(m.head_dim) * as_double(2 * m.num_heads + 2 * m.num_kv_heads) +
                                                       3 * as_double(m.mlp_size));
    // Later chunks attend to all before them.
    const double pairs = pairs_ * as_double(2 * chunk + 1) / (chunks_ * chunks_);
    const double products = 2 * tokens_ * weights, attention = 4 * pairs * as_double(m.num_heads) * as_double(m.head_dim);
    return {products + attention, products + 2 * attention, products, stash_bytes_};
  }
  // The loss computes its gradients in forward.
  BlockCosts head() const {
    return {3 * 2 * tokens_ * as_double(spec_.model.hidden_size) * as_double(spec_.model.vocabulary_size), 0, 0, 0};
  }
  int64_t message_bytes() const {
    const auto value_bytes = static_cast<double>(size_bytes(spec_.compute_dtype));
    return static_cast<int64_t>(tokens_ * as_double(spec_.model.hidden_size) * value_bytes);
  }

 private:
  const RunSpec& spec_;
  int chunks_;
  double tokens_ = 0, pairs_ = 0;
  int64_t stash_bytes_ = 0;
};

std::string problem_of(const RunSpec& spec, const StepPipeline& pipeline, const PlanTarget& target) {
  int64_t parameters = 0;
  for (int stage = 0; stage < spec.mesh.pipeline; ++stage) {
    const std::vector<int> blocks = pipeline.program.shape.placement.blocks_of(stage);
    parameters = std::max(parameters, parameters_held(spec.model, blocks, spec.mesh.tensor, 0));
  }
  try {
    expect_room_for_parameters(parameters, training_bytes_per_parameter(spec), target.memory_bytes);
    expect_room_for_batch(spec, target.memory_bytes, target.processor);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kResource) throw;
    return error.what();
  }
  return "";
}

int64_t longest_that_fits(const RunSpec& spec, const PlanTarget& target) {
  if (target.memory_bytes == 0) return 0;
  constexpr int64_t kMost = int64_t{1} << 40;
  const auto fits = [&](int64_t length) {
    RunSpec other = spec;
    other.data.sequence_length = length;
    return training_need(other, target.processor).total() <= as_double(target.memory_bytes);
  };
  const int64_t chunks = spec.pipeline.sequence_chunks;
  const int64_t beyond = *std::ranges::partition_point(std::views::iota(chunks, kMost), fits);
  return beyond > chunks ? beyond - 1 : 0;
}

std::vector<Traffic> busiest_traffic(const RunSpec& spec, const StepPipeline& pipeline) {
  std::vector<Traffic> most;
  double most_bytes = -1;
  for (int stage = 0; stage < spec.mesh.pipeline; ++stage) {
    const double between = as_double(pipeline.facts.ranks[static_cast<size_t>(stage)].bytes_sent);
    std::vector<Traffic> traffic = traffic_of(spec, pipeline.program.shape.placement.blocks_of(stage), between);
    double bytes = 0;
    for (const Traffic& t : traffic) bytes += t.bytes;
    if (bytes <= most_bytes) continue;
    most = std::move(traffic);
    most_bytes = bytes;
  }
  return most;
}

}  // namespace

// The program is the one that the run would execute; times are those of the rank with most to do in each stage.
StepPipeline pipeline_of_step(const RunSpec& spec, const Processor& processor) {
  RunSpec one_stage = spec;
  one_stage.mesh.pipeline = 1;
  one_stage.pipeline = {};
  const double kept = training_need(one_stage, processor).kept / as_double(spec.model.num_layers);
  const int chunks = spec.pipeline.sequence_chunks;
  const BlockWork work(spec, chunks, kept);
  StepPipeline plan;
  plan.costs = {.blocks = {}, .message_bytes = {work.message_bytes()}};
  for (int chunk = 0; chunk < chunks; ++chunk) {
    plan.costs.blocks.push_back({0, 0, 0, 0});
    for (int64_t layer = 0; layer < spec.model.num_layers; ++layer) plan.costs.blocks.push_back(work.layer(chunk));
    plan.costs.blocks.push_back(work.head());
  }
  plan.program = plan_pipeline(spec);
  plan.facts = verify_pipeline(plan.program, plan.costs);
  return plan;
}

StepPlan plan_step(const RunSpec& spec, const PlanTarget& target) {
  check_mesh(spec, static_cast<int64_t>(target.host_of_rank.size()));
  const Pairs pairs = pairs_of(spec);
  const double sequences = as_double(spec.global_batch_sequences);
  StepPipeline pipeline = pipeline_of_step(spec, target.processor);
  std::vector<Traffic> traffic = busiest_traffic(spec, pipeline);
  std::string problem = problem_of(spec, pipeline, target);
  return {.map = MeshMap(spec.mesh, target.host_of_rank),
          .pipeline = std::move(pipeline),
          .step_flop = training_flop(spec.model, sequences * as_double(spec.data.sequence_length),
                                     sequences / as_double(spec.micro_batch_sequences) * pairs.all),
          .idle_ranks = pairs.idle_ranks,
          .imbalance = pairs.most * spec.mesh.context / pairs.all,
          .traffic = std::move(traffic),
          .need = training_need(spec, target.processor),
          .problem = std::move(problem),
          .longest_sequence = longest_that_fits(spec, target)};
}

}  // namespace longspan
