// RunSpec: everything a run was asked to do, as plain data. The launcher makes it from the configuration file (the names
// are those of configs/schema/run.proto); nothing below the launcher reads files of settings, flags or the environment.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "attention/context_groups.h"
#include "attention/sequence_layout.h"
#include "core/nn/flat_layout.h"
#include "core/tensor/dtype.h"
#include "model/model_spec.h"
#include "parallel/comm/process_mesh.h"
#include "parallel/pipeline/schedules.h"
#include "train/data/data_spec.h"

namespace longspan {

struct EvaluationSpec {
  std::optional<DataSpec> data;  // absent: nothing is held out
  int64_t interval_steps = 0;    // 0: not while training
  int64_t max_sequences = 0;     // 0: all
};

enum class ScheduleType { kCosine, kLinear, kConstant };

struct OptimizerSpec {
  double learning_rate = 1e-3, minimum_learning_rate = 0;
  int64_t warmup_steps = 0;
  ScheduleType schedule = ScheduleType::kCosine;
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weight_decay = 0.1;
  enum class Decay { kMatrices, kAll } decay = Decay::kMatrices;  // kMatrices: norms and biases do not decay
  double gradient_clip = 1;  // global norm; 0: no clipping
};

struct CheckpointSpec {
  int64_t interval_steps = 0;  // 0: only at the end and on a signal
  int64_t keep = 2;            // newest checkpoints kept; 0: all
  enum class Resume { kLatest, kNone, kStep } resume = Resume::kLatest;
  int64_t resume_step = 0;  // for kStep
};

struct GenerationSpec {
  std::string prompt;                  // text for byte models
  std::vector<int32_t> prompt_tokens;  // token ids otherwise
  int64_t max_tokens = 256;
  double temperature = 0;  // 0: the likeliest token each time
  int64_t top_k = 0;       // 0: all tokens
};

struct TraceSpec {
  int64_t num_steps = 0;   // 0: no trace
  int64_t first_step = 0;  // 0: the second that the process does
};

struct ContextSpec {
  ContextScheme scheme = ContextScheme::kRing;
  int group_ranks = 0;  // HYBRID and DOUBLE_RING: neighbours on the axis that are a group; 0: as if all were on one host
};

struct PipelineSpec {
  PipelineSchedule schedule = PipelineSchedule::kOneForwardOneBackward;
  int chunks_per_stage = 1;
  int sequence_chunks = 1;  // of each sequence, which go through the stages one after the other
};

struct RunSpec {
  std::string name = "run", output_directory;
  uint64_t seed = 1;
  DType compute_dtype = DType::kFloat32;
  ModelSpec model;
  std::string model_folder;  // a Hugging Face folder the weights come from; empty: random weights
  DataSpec data;
  EvaluationSpec evaluation;
  MeshShape mesh;
  ContextSpec context;
  LayoutType layout = LayoutType::kZigzag;
  PipelineSpec pipeline;
  // Which state the ranks with the same parameters (data x context) share among themselves instead of each keeping all of it.
  enum class Sharding { kNone, kOptimizer, kGradients, kWeights } sharding = Sharding::kNone;
  int64_t bucket_elements = StateShare{}.bucket_elements;  // of a rank's parameters; not in the configuration
  OptimizerSpec optimizer;
  int64_t num_steps = 100;
  int64_t global_batch_sequences = 1, micro_batch_sequences = 1;
  std::string dump_gradients;  // file; empty: none
  int64_t loss_tile_tokens = 1024;
  CheckpointSpec checkpoint;
  GenerationSpec generation;
  enum class TensorBoard { kOff, kOn } tensorboard = TensorBoard::kOn;
  TraceSpec trace;
  std::string resolved_configuration;  // the text the launcher printed; stored in every checkpoint
};

// Ranks in each group of the context axis; 1 where the scheme has none.
int group_ranks(const RunSpec& spec);

}  // namespace longspan
