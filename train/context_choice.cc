#include "train/context_choice.h"

#include <algorithm>
#include <numeric>

#include "attention/measured_rates.h"
#include "attention/sequence_area.h"
#include "train/rank_context.h"

namespace longspan {

AttentionShape attention_shape(const RunSpec& spec, int ranks_per_host) {
  const SequenceLayout layout(spec.layout, spec.mesh.context, spec.data.sequence_length, spec.micro_batch_sequences);
  std::vector<int64_t> begins;
  for (int64_t i = 0; i < spec.micro_batch_sequences; ++i) begins.push_back(i * spec.data.sequence_length);
  const std::vector<int64_t> pairs = areas(Masking::kCausal, layout, begins);
  // Of the rank of a tensor axis that has fewest.
  const int64_t kv_heads = std::max<int64_t>(1, spec.model.num_kv_heads / spec.mesh.tensor);
  const int64_t groups = std::max<int64_t>(1, spec.model.num_heads / spec.mesh.tensor / kv_heads);
  return {.num_tokens = layout.total_tokens(),
          .num_heads = groups * kv_heads,
          .num_kv_heads = kv_heads,
          .head_dim = spec.model.head_dim,
          .dtype = spec.compute_dtype,
          .num_ranks = spec.mesh.context,
          .ranks_per_host = ranks_per_host,
          .total_pairs = std::accumulate(pairs.begin(), pairs.end(), int64_t{0}),
          .most_pairs = *std::max_element(pairs.begin(), pairs.end())};
}

SchemeChoice choose_context_scheme(const RunSpec& spec, Communicator& world, const RankResources& resources, int ranks_per_host) {
  const AttentionShape shape = attention_shape(spec, ranks_per_host);
  if (shape.num_ranks == 1) return choose_scheme(shape, {});
  RankContext rank(spec.compute_dtype, resources);
  const ProcessMesh mesh(world, spec.mesh);
  return choose_scheme(shape, measure_rates(rank.context(), mesh.axis(Axis::kContext), world, shape));
}

}  // namespace longspan
