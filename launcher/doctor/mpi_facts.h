// What MPI and the launcher tell of themselves.
#pragma once

#include "launcher/doctor/facts.h"
#include "launcher/launch.h"

namespace longspan::doctor {

// How this process was started: "alone", "mpirun", "srun", "srun without pmix" (every process then believes to be rank
// 0 of 1), "another MPI" (started by the mpirun of one that this program is not linked with; the same holds), "pmix".
std::string launch_kind(const Lookup& lookup);

// Between MPI_Init and MPI_Finalize. Reads the control variables of Open MPI (MPI_T) as it resolved them.
MpiFacts collect_mpi();

// A sum over this program's file, equal on ranks that run the same.
std::string program_sum();

// Of this process; stays valid until it ends.
Mailbox make_mailbox();

// Whether a process on this host may copy from another's memory, as Open MPI does for long messages. Containers and
// kernel.yama.ptrace_scope may forbid it.
bool can_read(const Mailbox& mailbox);

}  // namespace longspan::doctor
