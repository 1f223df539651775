#include <algorithm>

#include "core/base/error.h"
#include "parallel/pipeline/compute_programs.h"

namespace longspan {

std::vector<Program> one_forward_one_backward_compute(const PipelineShape& shape) {
  const int num_ranks = shape.placement.num_ranks;
  if (shape.placement.chunks_per_rank() != 1) {
    raise(ErrorKind::kConfiguration, "1F1B has 1 chunk a rank, not {}; use 1, or interleaved",
          shape.placement.chunks_per_rank());
  }
  std::vector<Program> programs;
  for (int rank = 0; rank < num_ranks; ++rank) {
    ComputeWriter writer(shape);
    int forwards = 0;
    const int warm_up = std::min(shape.num_microbatches, num_ranks - 1 - rank + shape.sequence_chunks - 1);
    while (forwards < warm_up) writer.forward(forwards++, rank);
    for (int k = 0; k < shape.num_microbatches; ++k) {
      if (forwards < shape.num_microbatches) writer.forward(forwards++, rank);
      writer.backward(shape.gradient_order(k), rank);
    }
    programs.push_back(writer.finish());
  }
  return programs;
}

}  // namespace longspan
