// PipelineStage: what a rank is on the pipeline axis: the blocks that are its own, and its links to the ranks with those before and
// after. Everything that goes through the whole model, a step or an evaluation, goes through it.
#pragma once

#include "model/decoder.h"
#include "parallel/comm/process_mesh.h"
#include "parallel/pipeline/executor.h"
#include "train/run_spec.h"

namespace longspan {

class PipelineStage {
 public:
  // Collective over the pipeline axis, which must outlive it. Raises Error(kConfiguration) where the model cannot be placed.
  PipelineStage(const RunSpec& spec, const ProcessMesh& mesh);

  std::vector<int> blocks() const { return placement_.blocks_of(link_.rank()); }

  // This rank's program over the decoder's microbatches. The decoder has the blocks above. `times`: measures them.
  void run(Context& context, const Program& program, Decoder& decoder, GradientSums& sums, BlockTimes* times = nullptr);

  // The losses of one microbatch without gradients, where the head is; elsewhere an undefined tensor. Collective over all axes but
  // data.
  Tensor losses(Context& context, Decoder& decoder, Microbatch batch);

 private:
  Placement placement_;
  PipelineLink link_;
  Program forward_;  // of one microbatch
};

}  // namespace longspan
