// precision: AUTO, settled when the ranks have met. Which precision is faster depends on the processors of all ranks, and a run
// that goes on elsewhere keeps the one that its checkpoint was trained in: a change in the middle would show in its loss.
#pragma once

#include <optional>
#include <string>

#include "configs/schema/run.pb.h"
#include "core/base/cpu_level.h"
#include "launcher/config_support.h"
#include "launcher/world.h"

namespace longspan {

// Of this rank: what cpu.level forces, else the fastest of this machine.
CpuLevel cpu_level_of(const config::RunConfig& config);

struct SettledPrecision {
  config::Precision::Type precision = config::Precision::FP32;
  std::string note;  // for the user: what, and why
};

// `slowest`: the lowest level of all ranks; `continued`: the precision of the checkpoint that will be continued, if there is one.
SettledPrecision choose_precision(CpuLevel slowest, std::optional<config::Precision::Type> continued);

// Of the checkpoint that this command begins with; nothing where there is none, or none that can be read.
std::optional<config::Precision::Type> continued_precision(const config::RunConfig& config, Command command);

// Collective, whatever the precision. Replaces AUTO, for all commands but benchmarks; returns the note, or nothing.
std::string settle_precision(config::RunConfig& config, Command command, World& world);

}  // namespace longspan
