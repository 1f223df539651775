// What this program cannot do yet, and what contradicts itself: refused by name before anything runs.
#pragma once

#include <vector>

#include "configs/schema/run.pb.h"
#include "core/base/cpu_level.h"
#include "launcher/config_origins.h"

namespace longspan {

enum class Command { kTrain, kEvaluate, kGenerate, kVerify, kPlan, kBench, kDoctor };

// Values that no part of this program serves. Nothing is ignored silently.
void check_support(const config::RunConfig& config, ConfigProblems& problems);

// A level that is not among those this machine runs.
void check_level(const config::RunConfig& config, const std::vector<CpuLevel>& here, ConfigProblems& problems);

// A benchmark has no run around it; what the one of this name does not read is refused.
void check_bench(const config::RunConfig& config, const std::string& name, ConfigProblems& problems);

// Fields that contradict each other, or that the command needs and does not have. `config` is resolved.
void check_consistency(const config::RunConfig& config, Command command, ConfigProblems& problems);

}  // namespace longspan
