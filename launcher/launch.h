// How this process was started, read from the environment: by an MPI launcher, or by hand as one rank.
#pragma once

#include <functional>

namespace longspan {

using Lookup = std::function<const char*(const char* variable)>;  // null where the variable is not set

enum class Launch { kAlone, kMpi };

// Raises Error(kConfiguration) for tasks of srun that MPI cannot join into one run.
Launch detect_launch(const Lookup& lookup);

// Whether this is rank 0 as far as one can tell without MPI: so that help and mistakes on the command line show once.
bool is_first_process(const Lookup& lookup);

}  // namespace longspan
