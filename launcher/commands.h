// The commands, each from its checked configuration to its exit code.
#pragma once

#include "launcher/command_line.h"
#include "launcher/config_file.h"
#include "launcher/run_observer.h"
#include "launcher/world.h"

namespace longspan {

// Reads the configuration and joins the other ranks; runs the command; returns the exit code. Every failure is reported
// once and leaves its code, in exit_status.json too where the run has a folder.
int run_command(const CommandLine& line, Launch launch);

}  // namespace longspan
