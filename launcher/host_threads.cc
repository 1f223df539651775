#include "launcher/host_threads.h"

#include <sched.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <string>

namespace longspan {
namespace {

int even_share(int total, int members, int member) {
  return std::max(1, total / members + (member < total % members ? 1 : 0));
}

// "max 100000" or "200000 100000": the time in microseconds of each period.
int quota_of(const std::string& path) {
  std::ifstream file(path);
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return 0;
  return std::max(1, static_cast<int>(std::stod(quota) / period));
}

}  // namespace

CpuMask own_cpu_mask() {
  std::array<unsigned long, kMaxCpus / (8 * sizeof(unsigned long))> words{};
  CpuMask mask;
  if (sched_getaffinity(0, sizeof words, reinterpret_cast<cpu_set_t*>(words.data())) != 0) return mask.set(0);
  constexpr size_t kBits = 8 * sizeof(unsigned long);
  for (size_t cpu = 0; cpu < kMaxCpus; ++cpu) mask[cpu] = (words[cpu / kBits] >> (cpu % kBits)) & 1;
  return mask;
}

int cpu_quota() {
  std::ifstream groups("/proc/self/cgroup");
  int quota = 0;
  for (std::string line; std::getline(groups, line);) {
    if (!line.starts_with("0::")) continue;
    // A limit may stand at any group on the way up; the least one holds.
    for (std::string group = line.substr(3);; group.resize(group.rfind('/'))) {
      const int here = quota_of("/sys/fs/cgroup" + group + "/cpu.max");
      if (here > 0) quota = quota > 0 ? std::min(quota, here) : here;
      if (group.rfind('/') == std::string::npos) break;
    }
  }
  return quota;
}

int threads_of_rank(const std::vector<CpuMask>& masks_of_host, int local_rank, int quota) {
  const CpuMask& own = masks_of_host[static_cast<size_t>(local_rank)];
  int members = 0, member = 0;
  for (size_t rank = 0; rank < masks_of_host.size(); ++rank) {
    if (masks_of_host[rank] != own) continue;
    if (static_cast<int>(rank) < local_rank) ++member;
    ++members;
  }
  const int threads = even_share(static_cast<int>(own.count()), members, member);
  if (quota <= 0) return threads;
  return std::min(threads, even_share(quota, static_cast<int>(masks_of_host.size()), local_rank));
}

}  // namespace longspan
