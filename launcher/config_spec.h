// From a configuration to the plain RunSpec that everything below the launcher takes.
#pragma once

#include "launcher/config_defaults.h"
#include "launcher/config_file.h"
#include "train/run_spec.h"

namespace longspan {

// Checks, fills in and checks again; `loaded` is complete afterwards, except for a benchmark, which has its own defaults.
// Raises Error(kConfiguration) with every problem.
void resolve(LoadedConfig& loaded, const ConfigTarget& target);

// `config` is resolved.
RunSpec make_run_spec(const config::RunConfig& config);

}  // namespace longspan
