// How progress is shown: what the configuration asks for, or what standard error turns out to be.
#pragma once

#include "configs/schema/run.pb.h"
#include "launcher/launch.h"
#include "launcher/progress.h"

namespace longspan {

// NO_COLOR (https://no-color.org) turns colours off. Under mpirun, rank 0 cannot see the terminal behind its pipes:
// cluster/mpirun.sh gives its columns in LONGSPAN_TERMINAL.
ProgressPrinter::Options progress_options(config::Metrics::Progress asked, const Lookup& lookup);

}  // namespace longspan
