// What each command does once its configuration is checked and the ranks have met.
#pragma once

#include <string>

#include "configs/schema/run.pb.h"
#include "launcher/command_line.h"
#include "launcher/run_observer.h"
#include "launcher/world.h"

namespace longspan {

// Where a run leaves its files; empty for commands that leave none.
struct RunFolder {
  std::string path;
};

// Training: the folder with its log, and on rank 0 the configuration in it and no exit status of an earlier run.
RunFolder prepare_folder(Command command, const config::RunConfig& config, int rank);

void start_logs(const RunFolder& folder, int rank);

// The exit code. Raises Error.
int run(const CommandLine& line, const config::RunConfig& config, World& world, const RunFolder& folder,
        RunObserver& observer);

}  // namespace longspan
