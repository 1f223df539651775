// What each command does once its configuration is checked and the ranks have met.
#pragma once

#include <optional>
#include <string>

#include "configs/schema/run.pb.h"
#include "launcher/command_line.h"
#include "launcher/folder_lock.h"
#include "launcher/precision.h"
#include "launcher/rank_device.h"
#include "launcher/run_observer.h"
#include "launcher/world.h"

namespace longspan {

// Where a run leaves its files; empty for commands that leave none.
struct RunFolder {
  std::string path;
  FolderLock lock;  // rank 0
};

// Training: the folder with its log; rank 0 locks it and removes the exit status of an earlier run.
RunFolder prepare_folder(Command command, const config::RunConfig& config, const World& world);

void start_logs(const RunFolder& folder, int rank);

// What the ranks have agreed on before a command begins.
struct Ranks {
  const SettledChoices& settled;
  const RankDevice& device;
  World& world;
  Communicator& communicator;  // of all ranks, for tensors of the device, and of the host
  std::optional<config::Context> continued_context;  // of the checkpoint that is continued; counts on rank 0
};

// The exit code. Raises Error.
int run(const CommandLine& line, const config::RunConfig& config, const Ranks& ranks, const RunFolder& folder,
        RunObserver& observer);

}  // namespace longspan
