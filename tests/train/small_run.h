// The model and the mesh of a run of one step, small enough for tests of memory; the data are the caller's.
#pragma once

#include "train/run_spec.h"

namespace longspan::test {

inline RunSpec small_run(int64_t sequence_length, int context) {
  RunSpec spec;
  spec.model.hidden_size = 32;
  spec.model.num_layers = 3;
  spec.model.num_heads = 4;
  spec.model.num_kv_heads = 2;
  spec.model.head_dim = 8;
  spec.model.mlp_size = 64;
  spec.data.sequence_length = sequence_length;
  spec.loss_tile_tokens = 64;
  spec.mesh.context = context;
  spec.num_steps = 1;
  spec.tensorboard = RunSpec::TensorBoard::kOff;
  return spec;
}

}  // namespace longspan::test
