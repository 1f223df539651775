// The command line. It is frozen: the commands below, --config, --set, --world, --help and --version; a test guards it.
// Everything else is configuration.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launcher/config_support.h"

namespace longspan {

struct CommandLine {
  enum class Action { kRun, kPrint } action = Action::kRun;
  std::string text;  // kPrint: help or version
  Command command = Command::kTrain;
  std::string bench_name;
  std::string config;                 // the file
  std::vector<std::string> overrides;  // path=value, in order
  int64_t world = 0;                   // plan: ranks; 0: not given
};

// Raises Error(kConfiguration); an unknown command or flag names its nearest match.
CommandLine parse_command_line(int argc, const char* const* argv);

std::string version_text();

}  // namespace longspan
