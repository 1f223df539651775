// What the control groups around this process grant it: containers and batch systems give less than the host has. Version 1
// and 2; a limit may stand at any group on the way up, and the least one holds.
#pragma once

#include "launcher/system_files.h"

namespace longspan {

// CPUs' worth of time, at least 1; 0: no limit.
int64_t cpu_quota(const SystemFiles& files = SystemFiles());

// Bytes of memory; kUnlimited or kUnknown: no limit.
int64_t memory_limit(const SystemFiles& files = SystemFiles());

}  // namespace longspan
