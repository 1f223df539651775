// Filling in what a configuration leaves open, so that what is printed and stored says everything that was chosen.
#pragma once

#include <functional>
#include <string>

#include "configs/schema/run.pb.h"
#include "launcher/config_origins.h"
#include "launcher/config_support.h"
#include "model/model_spec.h"

namespace longspan {

// A plan may be for so many.
constexpr int64_t kMostPlannedRanks = 1 << 20;

// What the configuration is resolved for.
struct ConfigTarget {
  Command command = Command::kTrain;
  int num_ranks = 1;
  // kThreads: one process, which runs the ranks of any mesh as threads of its own. kPlanned: they are not there, and there are
  // num_ranks, or, where that is 0, those of the mesh.
  enum class Ranks { kProcesses, kThreads, kPlanned } ranks = Ranks::kProcesses;
  std::string bench = {};  // the name of the benchmark, for kBench
  // Reads the shapes of an imported model (train/formats/huggingface.h).
  std::function<ModelSpec(const std::string& folder)> read_model;
};

// Writes every choice into `config`. With model.from_huggingface, shapes come from there, and a field that says otherwise
// is a problem naming both values; so is a mesh that does not multiply to the ranks.
void fill_defaults(config::RunConfig& config, const ConfigTarget& target, ConfigProblems& problems);

}  // namespace longspan
