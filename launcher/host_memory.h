// How much memory this host grants.
#pragma once

#include <cstdint>

namespace longspan {

// Bytes of memory of the host, or those that the control groups around this process grant it where that is less.
int64_t host_memory_bytes();

}  // namespace longspan
