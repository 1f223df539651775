// `longspan plan`: what a step would be, from the configuration alone. Needs neither data nor a GPU, and MPI only where it is
// started by one and no --world is given: the ranks then say which host they are on, and what they have of it.
#pragma once

#include <ostream>

#include "launcher/command_line.h"
#include "launcher/launch.h"

namespace longspan {

// The exit code: of resources where something does not fit. Raises Error. Of several processes the first plans.
int run_plan(const CommandLine& line, Launch launch, std::ostream& out);

}  // namespace longspan
