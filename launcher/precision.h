// precision: AUTO and cpu.level: AUTO, settled when the ranks have met. Which precision is faster depends on the processors of
// all ranks, and a run that goes on elsewhere keeps the one that its checkpoint was trained in: a change in the middle would
// show in its loss. The level is that of the slowest rank: two levels round differently, and replicas, each of which updates
// its own weights, would drift apart.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "configs/schema/run.pb.h"
#include "core/base/cpu_level.h"
#include "launcher/config_support.h"
#include "parallel/comm/communicator.h"

namespace longspan {

// Of this rank: what cpu.level forces, else the fastest of this machine.
CpuLevel cpu_level_of(const config::RunConfig& config);

struct SettledPrecision {
  config::Precision::Type precision = config::Precision::FP32;
  std::string note;  // for the user: what, and why
};

// `slowest`: the lowest level of all ranks, which counts on CPUs; `continued`: the precision of the checkpoint that will be
// continued, if there is one.
SettledPrecision choose_precision(config::RunConfig::Device device, CpuLevel slowest,
                                  std::optional<config::Precision::Type> continued);

// With AUTO, that of the checkpoint that this command begins with; nothing where there is none, or none that can be read.
// Raises Error(kCheckpoint) where the folder of the checkpoints cannot be read.
std::optional<config::Precision::Type> continued_precision(const config::RunConfig& config, Command command);

struct SettledChoices {
  CpuLevel cpu_level = CpuLevel::kPortable;  // that this rank uses
  std::vector<std::string> notes;            // for the user
};

// Collective, whatever is set. Replaces precision: AUTO, for all commands but benchmarks, once `device` is settled. `own` is
// cpu_level_of this rank, `continued` counts on rank 0.
SettledChoices settle_choices(config::RunConfig& config, Command command, CpuLevel own,
                              std::optional<config::Precision::Type> continued, Communicator& world);

}  // namespace longspan
