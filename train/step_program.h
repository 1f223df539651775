// StepProgram: how the gradients of a step come about on this rank: which blocks run when, and when gradients are summed.
#pragma once

#include "model/decoder.h"
#include "parallel/comm/process_mesh.h"
#include "parallel/pipeline/program.h"
#include "train/shared_stage.h"

namespace longspan {

class StepProgram {
 public:
  // Wraps the decoder's blocks where ranks share what they read or add to. Proves the program sound. What it is given must outlive it. `share`: that of the parameters.
  StepProgram(const ProcessMesh& mesh, Decoder& decoder, int num_microbatches, const StateShare& share);
  size_t num_actions() const { return program_.size(); }

  // Of the decoder's microbatches: losses, and gradients as sums over all that hold the same parameters. Collective over the mesh.
  void run(Context& context);

 private:
  const ProcessMesh& mesh_;
  Decoder& decoder_;
  SharedStage shared_;
  Program program_;
};

}  // namespace longspan
