// Faults planted in kernels that run in the emulator (simt/scheduler.h). Each has to be noticed under every seed: by the
// emulator, which ends the launch, or by numbers that are not what they should be.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace longspan::test {

// Runs kernels. Empty where what they computed is right, else what is not. May raise simt::KernelFault.
using KernelRun = std::function<std::string()>;

// Fails the test where this run, which has a fault, seems right.
void expect_noticed(const std::string& fault, const KernelRun& run, uint64_t num_seeds = 3);

// An instruction that can be left out without notice, and why it is there all the same.
struct Equivalent {
  std::string instruction;
  int count;
  std::string reason;
};
// Leaves out each synchronising instruction of the run in turn (simt/mutation.h), of which there have to be `least_sites`: more
// where the compiler makes two of one. Prints what was noticed of each. Fails the test where the run is wrong as it is, and
// where one is not missed that is no equivalent, or an equivalent is.
void expect_every_site_needed(const std::string& kernel, const KernelRun& run, size_t least_sites,
                              const std::vector<Equivalent>& equivalents = {});

}  // namespace longspan::test
