#include "launcher/host_threads.h"

#include <sched.h>

#include <algorithm>
#include <array>

namespace longspan {
namespace {

int even_share(int total, int members, int member) {
  return std::max(1, total / members + (member < total % members ? 1 : 0));
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

int threads_of_rank(const std::vector<CpuMask>& masks_of_host, int local_rank, int64_t quota) {
  const CpuMask& own = masks_of_host[static_cast<size_t>(local_rank)];
  int members = 0, member = 0;
  for (size_t rank = 0; rank < masks_of_host.size(); ++rank) {
    if (masks_of_host[rank] != own) continue;
    if (static_cast<int>(rank) < local_rank) ++member;
    ++members;
  }
  const int threads = even_share(static_cast<int>(own.count()), members, member);
  if (quota <= 0) return threads;
  const auto cpus = static_cast<int>(std::min<int64_t>(quota, kMaxCpus));
  return std::min(threads, even_share(cpus, static_cast<int>(masks_of_host.size()), local_rank));
}

}  // namespace longspan
