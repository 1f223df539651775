// PipelineStage: what a rank is on the pipeline axis: the blocks that are its own, and its links to the ranks with those before
// and after. Everything that goes through the whole model, a step or an evaluation, goes through it.
#pragma once

#include "model/decoder.h"
#include "parallel/comm/process_mesh.h"
#include "parallel/pipeline/executor.h"
#include "train/run_spec.h"
#include "train/shared_stage.h"

namespace longspan {

class PipelineStage {
 public:
  // Collective over the pipeline axis, which must outlive it. Raises Error(kConfiguration) where the model cannot be placed.
  PipelineStage(const RunSpec& spec, const ProcessMesh& mesh);

  std::vector<int> blocks() const { return placement_.blocks_of(link_.rank()); }

  // Before the first run: wraps the decoder's blocks where ranks share what they read or add to. Collective over the replicas.
  void share_state(const ProcessMesh& mesh, Decoder& decoder, const StateShare& share);

  // This rank's program over the decoder's microbatches. The decoder has the blocks above. `times`: measures them.
  void run(Context& context, const Program& program, Decoder& decoder, GradientSums& sums, BlockTimes* times = nullptr);

  // The decoder's microbatches without gradients, one behind the other through all stages; their losses are in them then, where
  // the head is. Collective over all axes but data; over that, too, where weights are shared.
  void run_forward(Context& context, Decoder& decoder);

 private:
  Placement placement_;
  PipelineLink link_;
  std::unique_ptr<SharedStage> shared_;
};

}  // namespace longspan
