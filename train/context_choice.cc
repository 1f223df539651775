#include "train/context_choice.h"

#include <algorithm>
#include <numeric>

#include "attention/measured_rates.h"
#include "attention/sequence_area.h"
#include "train/agreement.h"
#include "train/memory_need.h"
#include "train/rank_context.h"

namespace longspan {

AttentionShape attention_shape(const RunSpec& spec, int ranks_per_host) {
  const BatchShape batch = {.sequence_length = spec.data.sequence_length, .num_sequences = spec.micro_batch_sequences};
  const std::vector<double> pairs = areas_of_batch(spec.layout, spec.mesh.context, batch);
  // Of the rank of a tensor axis that has fewest.
  const int64_t kv_heads = std::max<int64_t>(1, spec.model.num_kv_heads / spec.mesh.tensor);
  const int64_t groups = std::max<int64_t>(1, spec.model.num_heads / spec.mesh.tensor / kv_heads);
  return {.num_tokens = batch.sequence_length * batch.num_sequences,
          .num_heads = groups * kv_heads,
          .num_kv_heads = kv_heads,
          .head_dim = spec.model.head_dim,
          .dtype = spec.compute_dtype,
          .num_ranks = spec.mesh.context,
          .ranks_per_host = ranks_per_host,
          .total_pairs = std::accumulate(pairs.begin(), pairs.end(), 0.0),
          .most_pairs = *std::max_element(pairs.begin(), pairs.end())};
}

namespace {

// 0 where it is not known.
int64_t least_memory_bytes(const Context& host, Communicator& world, int64_t mine) {
  const Tensor least = host.empty({1}, DType::kInt64, MemoryTag::kWorkspace);
  *least.data<int64_t>() = -mine;
  world.all_reduce(host.stream(), least, ReduceOp::kMax);
  return -*least.data<int64_t>();
}

void keep_what_fits(const RunSpec& spec, int64_t memory_bytes, const Processor& processor, SchemeChoice& choice) {
  if (memory_bytes == 0) return;
  const auto fits = [&](const SchemeCost& cost) {
    RunSpec with = spec;
    with.context = {.scheme = cost.scheme, .group_ranks = cost.inner};
    return cost.refused.empty() && training_need(with, processor).total() <= static_cast<double>(memory_bytes);
  };
  const auto first = std::find_if(choice.costs.begin(), choice.costs.end(), fits);
  if (first == choice.costs.begin() || first == choice.costs.end()) return;
  choice.reason = fmt::format("the fastest that fits into memory; without that limit, {}", choice.reason);
  std::rotate(choice.costs.begin(), first, first + 1);
}

}  // namespace

SchemeChoice choose_context_scheme(const RunSpec& spec, Communicator& world, const RankResources& resources, int ranks_per_host) {
  RankContext rank(spec.compute_dtype, resources);
  agree_on_configuration(rank.context(), world, spec);  // before groups are made by it
  const AttentionShape shape = attention_shape(spec, ranks_per_host);
  if (shape.num_ranks == 1) return choose_scheme(shape, {});
  const ProcessMesh mesh(world, spec.mesh);
  SchemeChoice choice = choose_scheme(shape, measure_rates(rank.context(), mesh.axis(Axis::kContext), world, shape));
  keep_what_fits(spec, least_memory_bytes(rank.context().host(), world, resources.memory_bytes), resources.processor(), choice);
  return choice;
}

}  // namespace longspan
