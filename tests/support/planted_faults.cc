#include "tests/support/planted_faults.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <iostream>
#include <map>

#include "tests/support/simt/mutation.h"
#include "tests/support/simt/scheduler.h"

namespace longspan::test {

namespace {

constexpr uint64_t kNumSeeds = 3;

std::string noticed(const KernelRun& run, uint64_t seed) {
  simt::options() = {};
  simt::options().seed = seed;
  try {
    return run();
  } catch (const simt::KernelFault& fault) {
    return fault.what();
  }
}

void report(const std::string& fault, const std::string& what) {
  std::cout << fmt::format("  {:62} {}\n", fault, what.substr(0, what.find('\n')));
}

}  // namespace

void expect_noticed(const std::string& fault, const KernelRun& run, uint64_t num_seeds) {
  for (uint64_t seed = 1; seed <= num_seeds; ++seed) {
    const std::string what = noticed(run, seed);
    if (seed == 1) report(fault, what);
    EXPECT_NE(what, "") << fault << ": not noticed under seed " << seed;
  }
}

void expect_every_site_needed(const std::string& kernel, const KernelRun& run, size_t least_sites,
                              const std::vector<Equivalent>& equivalents) {
  simt::visited_sites().clear();
  for (uint64_t seed = 1; seed <= kNumSeeds; ++seed) ASSERT_EQ(noticed(run, seed), "") << kernel << ", seed " << seed;
  const std::map<const void*, simt::Site> sites = simt::visited_sites();
  EXPECT_GE(sites.size(), least_sites) << kernel;
  std::map<std::string, int> spare;
  for (const auto& [place, site] : sites) {
    const std::string name = fmt::format("{}: {} line {}", kernel, site.instruction, site.line);
    uint64_t missed = 0;
    std::string last;
    for (uint64_t seed = 1; seed <= kNumSeeds; ++seed) {
      simt::drop_site(place);
      const std::string what = noticed(run, seed);
      simt::drop_site(nullptr);
      if (what.empty()) continue;
      ++missed;
      last = what;
    }
    report(name, last.empty() ? "nobody misses it" : last);
    if (missed == 0) ++spare[site.instruction];
    else EXPECT_EQ(missed, kNumSeeds) << name << " is missed under some seeds only";
    if (missed > 0) continue;
    bool known = false;
    for (const Equivalent& each : equivalents) known |= each.instruction == site.instruction;
    EXPECT_TRUE(known) << name << " can be left out: it is not needed, or not tested";
  }
  for (const Equivalent& each : equivalents)
    EXPECT_EQ(spare[each.instruction], each.count) << kernel << ", " << each.instruction << ": " << each.reason;
}

}  // namespace longspan::test
