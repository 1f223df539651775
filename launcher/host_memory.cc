#include "launcher/host_memory.h"

#include <unistd.h>

#include <algorithm>

#include "launcher/control_groups.h"

namespace longspan {

int64_t host_memory_bytes() {
  const int64_t installed = sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE), limit = memory_limit();
  return limit > 0 ? std::min(installed, limit) : installed;
}

}  // namespace longspan
