// How many threads each rank of a host may use, so that the ranks together use its cores once.
#pragma once

#include <bitset>
#include <cstdint>
#include <vector>

namespace longspan {

constexpr int kMaxCpus = 8192;
using CpuMask = std::bitset<kMaxCpus>;

// The CPUs this process may run on.
CpuMask own_cpu_mask();

// Ranks with the same mask share its CPUs evenly, the remainder going to the first of them; each has at least one. A
// quota of CPUs (0: none) is shared by all ranks of the host alike.
int threads_of_rank(const std::vector<CpuMask>& masks_of_host, int local_rank, int64_t quota);

}  // namespace longspan
