// A rank of MPI with a device, for device_ranks_test.cc: emulated devices reach each other through the host
// (device_ranks_emulated.cc), GPUs by NCCL, also where ranks share one (device_ranks_gpu.cc).
#pragma once

#include <memory>

#include "parallel/comm/mpi/mpi_session.h"

namespace longspan::test {

int ordinal_of_rank(MpiSession& session);  // collective; before the first context
// Over all ranks, with the device that is current; after the first context.
std::unique_ptr<Communicator> group_of_devices(MpiSession& session);

}  // namespace longspan::test
