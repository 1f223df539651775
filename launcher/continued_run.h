// What the checkpoint that a command begins with was made by, for choices that a run keeps.
#pragma once

#include <optional>

#include "configs/schema/run.pb.h"
#include "launcher/config_support.h"

namespace longspan {

// The resolved configuration of the newest one that can be read, as `config` says where to look; nothing where there is none, or
// the command begins with none. Raises Error(kCheckpoint) where the folder of the checkpoints cannot be read.
std::optional<config::RunConfig> continued_configuration(const config::RunConfig& config, Command command);

}  // namespace longspan
