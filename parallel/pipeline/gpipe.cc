#include "parallel/pipeline/compute_programs.h"

namespace longspan {

std::vector<Program> gpipe_compute(const PipelineShape& shape) {
  std::vector<Program> programs;
  for (int rank = 0; rank < shape.placement.num_ranks; ++rank) {
    const std::vector<int> chunks = shape.placement.chunks_of(rank);
    ComputeWriter writer(shape);
    for (int chunk : chunks) {
      for (int m = 0; m < shape.num_microbatches; ++m) writer.forward(m, chunk);
    }
    for (auto chunk = chunks.rbegin(); chunk != chunks.rend(); ++chunk) {
      for (int k = 0; k < shape.num_microbatches; ++k) writer.backward(shape.gradient_order(k), *chunk);
    }
    programs.push_back(writer.finish());
  }
  return programs;
}

}  // namespace longspan
