#include "launcher/control_groups.h"

#include <algorithm>
#include <sstream>

namespace longspan {
namespace {

// Of version 1 and version 2: a host may use both, each for other controllers.
int64_t lesser_known(int64_t a, int64_t b) { return a < 0 || b < 0 ? std::max(a, b) : std::min(a, b); }

int64_t cpus(double quota, double period) {
  return quota > 0 && period > 0 ? std::max<int64_t>(1, static_cast<int64_t>(quota / period)) : kUnknown;
}

}  // namespace

int64_t cpu_quota(const SystemFiles& files) {
  const auto version_2 = [&](const std::string& folder) {  // "max 100000" or "200000 100000": microseconds of each period
    std::istringstream words(files.line(folder + "/cpu.max"));
    double quota = 0, period = 0;
    words >> quota >> period;
    return cpus(quota, period);
  };
  const auto version_1 = [&](const std::string& folder) {
    return cpus(static_cast<double>(files.number(folder + "/cpu.cfs_quota_us")),
                static_cast<double>(files.number(folder + "/cpu.cfs_period_us")));
  };
  return std::max<int64_t>(
      0, lesser_known(files.least_of_groups("", version_2), files.least_of_groups("cpu", version_1)));
}

int64_t memory_limit(const SystemFiles& files) {
  const auto reader = [&](const char* file) {
    return [&files, file](const std::string& folder) { return files.number(folder + "/" + file); };
  };
  const int64_t limit = lesser_known(files.least_of_groups("", reader("memory.max")),
                                     files.least_of_groups("memory", reader("memory.limit_in_bytes")));
  // Version 1 says "none" as a number that no machine has.
  return limit >= int64_t{1} << 62 ? kUnlimited : limit;
}

}  // namespace longspan
