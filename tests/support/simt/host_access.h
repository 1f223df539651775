// Says what it was when the host touches emulated device memory that it may not touch (global_memory.h).
#pragma once

namespace longspan::simt {

// From now on such an access ends the process with a message on standard error; other faults are as they were.
void name_refused_accesses();

}  // namespace longspan::simt
