// What schedules are made of: programs that compute, without a message, each in a file of its own. See
// schedules.h. Zero bubble chooses among several with their messages, so it gives a whole program.
#pragma once

#include "parallel/pipeline/pipeline_program.h"

namespace longspan {

std::vector<Program> gpipe_compute(const PipelineShape& shape);
std::vector<Program> one_forward_one_backward_compute(const PipelineShape& shape);
std::vector<Program> interleaved_compute(const PipelineShape& shape);
PipelineProgram make_zero_bubble(const PipelineShape& shape, const PipelineCosts& costs);

// Writes a rank's program chunk by chunk.
class ComputeWriter {
 public:
  explicit ComputeWriter(const PipelineShape& shape) : shape_(shape) {}
  void forward(int microbatch, int chunk);
  // B and W block by block, so that a stash goes before the next block's B.
  void backward(int microbatch, int chunk);
  void backward_input(int microbatch, int chunk);
  void backward_weight(int microbatch, int block);
  Program finish();  // with the reduction

 private:
  const PipelineShape& shape_;
  Program program_;
};

}  // namespace longspan
