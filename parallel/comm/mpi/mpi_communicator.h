// The communicator of MPI, for mpi_session.cc.
#pragma once

#include <mpi.h>

#include "parallel/comm/mpi/mpi_transfer.h"

namespace longspan {

// Takes `comm`.
std::unique_ptr<Communicator> make_mpi_communicator(MPI_Comm comm, const std::string& name,
                                                    std::chrono::milliseconds timeout,
                                                    std::shared_ptr<MpiTransfers> transfers);

}  // namespace longspan
