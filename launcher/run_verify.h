// longspan verify: this mesh against one rank, in double precision, in float32 and in the run's own.
#pragma once

#include <ostream>

#include "configs/schema/run.pb.h"
#include "launcher/world.h"
#include "train/train.h"

namespace longspan {

// Exit code 0 if all agrees, else that of a numerical failure, on every rank. Started alone, the process runs the ranks
// of the mesh as threads. Rank 0 writes to `out`, and the difference to standard error. `ranks` are those of the world, and move
// tensors of the device. Double precision has kernels for CPUs alone, and is verified there.
int run_verify(const config::RunConfig& config, World& world, Communicator& ranks, const RankResources& resources,
               std::ostream& out);

}  // namespace longspan
