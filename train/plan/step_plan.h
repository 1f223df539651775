// StepPlan: what a step of training would be on a mesh, computed from the configuration alone: which rank has which place, which
// blocks each stage holds and when they run, operations, bytes moved, memory, and what does not fit. Runs nothing, so the ranks
// need not be there. Pure functions.
//
// Operations are those of the usual convention (training_flop): nothing that is computed again, backward twice forward. Every
// sequence counts as one document; packed ones have fewer pairs of queries and keys.
#pragma once

#include <string>
#include <vector>

#include "parallel/comm/mesh_map.h"
#include "parallel/pipeline/verifier.h"
#include "train/memory_need.h"
#include "train/plan/traffic.h"

namespace longspan {

// Where a step would run.
struct PlanTarget {
  std::vector<int> host_of_rank;
  Processor processor = {};
  int64_t memory_bytes = 0;  // of a rank; 0: not known
};

// Times are in operations of one rank: over its operations per second, they are seconds.
struct StepPipeline {
  PipelineProgram program;
  PipelineCosts costs;
  PipelineFacts facts;
};
StepPipeline pipeline_of_step(const RunSpec& spec, const Processor& processor = {});

struct StepPlan {
  MeshMap map;
  StepPipeline pipeline;
  double step_flop = 0;       // of all ranks
  int idle_ranks = 0;         // of a context axis: those that get no token of a sequence
  double imbalance = 1;       // of attention along the context axis: the largest area of a rank over the mean
  std::vector<Traffic> traffic;  // of the stage that sends most
  TrainingNeed need;          // of a rank
  std::string problem;        // the first thing that does not fit, and what to change; empty: all fits, or nothing is known
  int64_t longest_sequence = 0;  // that fits on this mesh, were it a sequence of its own length; 0: none, or not known
  // Operations one after another until the step's end, on the rank that has most: what no rate shortens.
  double critical_flop() const { return pipeline.facts.makespan_seconds; }
};

// Raises Error(kConfiguration) for what cannot be: check_mesh comes first.
StepPlan plan_step(const RunSpec& spec, const PlanTarget& target);

}  // namespace longspan
