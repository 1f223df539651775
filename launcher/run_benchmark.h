// `longspan bench NAME`: what of a configuration each benchmark reads, and on what it runs.
#pragma once

#include <ostream>
#include <string>

#include "configs/schema/run.pb.h"
#include "parallel/comm/communicator.h"
#include "train/train.h"

namespace longspan {

// Of a benchmark on one rank: the device of `resources`, where the configuration does not say otherwise the GPU that this process
// sees first, else the CPU. With threads for host and CPU. Collective over `world` for `ring`. Returns the exit code; raises Error.
int run_benchmark(const std::string& name, const config::RunConfig& config, const RankResources& resources, Communicator& world,
                  std::ostream& out);

}  // namespace longspan
