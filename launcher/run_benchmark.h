// `longspan bench NAME`: what of a configuration each benchmark reads, and on what it runs.
#pragma once

#include <ostream>
#include <string>

#include "configs/schema/run.pb.h"
#include "parallel/comm/communicator.h"
#include "train/train.h"

namespace longspan {

// On the device of `resources`; `ring` is collective over `world`, and on CPUs. Returns the exit code; raises Error.
int run_benchmark(const std::string& name, const config::RunConfig& config, const RankResources& resources, Communicator& world,
                  std::ostream& out);

}  // namespace longspan
