#include <algorithm>

#include "core/base/error.h"
#include "parallel/pipeline/compute_programs.h"

namespace longspan {

namespace {

// The k-th thing a rank does in one direction: a group of microbatches goes through its first chunk, then
// through the next.
struct Turn {
  int microbatch, chunk;  // the latter: which of the rank's own
};

Turn turn(int k, int group_size, int chunks_per_rank) {
  const int in_group = k % (group_size * chunks_per_rank);
  return {k / (group_size * chunks_per_rank) * group_size + in_group % group_size, in_group / group_size};
}

int checked_group_size(const PipelineShape& shape) {
  const int num_ranks = shape.placement.num_ranks, chunks = shape.sequence_chunks;
  for (size_t c = 0; c < shape.placement.chunks.size(); ++c) {
    if (shape.placement.chunks[c].rank != static_cast<int>(c) % num_ranks) {
      raise(ErrorKind::kConfiguration,
            "interleaved 1F1B deals chunks to ranks in turn, but chunk {} is on rank {}; use rank {}", c,
            shape.placement.chunks[c].rank, static_cast<int>(c) % num_ranks);
    }
  }
  const int group_size = (num_ranks + chunks - 1) / chunks * chunks, rest = shape.num_microbatches % group_size;
  if (rest != 0) {
    const int above = shape.num_microbatches - rest + group_size;
    const int nearest = rest < group_size - rest && above > group_size ? above - group_size : above;
    raise(ErrorKind::kConfiguration, "interleaved 1F1B over {} ranks takes a multiple of {} microbatches, not {}; use {}",
          num_ranks, group_size, shape.num_microbatches, nearest);
  }
  return group_size;
}

}  // namespace

std::vector<Program> interleaved_compute(const PipelineShape& shape) {
  const int num_ranks = shape.placement.num_ranks, chunks_per_rank = shape.placement.chunks_per_rank();
  if (chunks_per_rank == 1) return one_forward_one_backward_compute(shape);
  const int group_size = checked_group_size(shape), total = shape.num_microbatches * chunks_per_rank;
  std::vector<Program> programs;
  for (int rank = 0; rank < num_ranks; ++rank) {
    const std::vector<int> chunks = shape.placement.chunks_of(rank);
    ComputeWriter writer(shape);
    const auto forward = [&](int k) {
      const Turn next = turn(k, group_size, chunks_per_rank);
      writer.forward(next.microbatch, chunks[static_cast<size_t>(next.chunk)]);
    };
    const int warm_up =
        std::min(total, 2 * (num_ranks - 1 - rank) + (chunks_per_rank - 1) * group_size + shape.sequence_chunks - 1);
    int forwards = 0;
    while (forwards < warm_up) forward(forwards++);
    for (int k = 0; k < total; ++k) {
      if (forwards < total) forward(forwards++);
      const Turn next = turn(k, group_size, chunks_per_rank);
      writer.backward(shape.gradient_order(next.microbatch), chunks[static_cast<size_t>(chunks_per_rank - 1 - next.chunk)]);
    }
    programs.push_back(writer.finish());
  }
  return programs;
}

}  // namespace longspan
