#include "launcher/host_memory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace longspan {
namespace {

// memory.max holds a number, or "max".
int64_t limit_of(const std::string& path, int64_t limit) {
  int64_t here = 0;
  return std::ifstream(path) >> here ? std::min(here, limit) : limit;
}

}  // namespace

int64_t host_memory_bytes() {
  int64_t limit = sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (!line.starts_with("0::")) continue;
    // A limit may stand at any group on the way up; the least one holds.
    for (std::string group = line.substr(3);; group.resize(group.rfind('/'))) {
      limit = limit_of("/sys/fs/cgroup" + group + "/memory.max", limit);
      if (group.rfind('/') == std::string::npos) break;
    }
  }
  return limit;
}

}  // namespace longspan
