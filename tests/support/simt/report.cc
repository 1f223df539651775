#include <fmt/format.h>

#include <map>

#include "tests/support/simt/scheduler.h"

namespace longspan::simt {

namespace {

constexpr size_t kLongestReport = 3500;

std::string reason(const Thread& thread) {
  Block& block = *thread.block;
  switch (thread.waiting) {
    case Waiting::kForMbarrier: {
      const Mbarrier& barrier = block.mbarriers[thread.wait_address];
      return fmt::format("mbarrier {}@{:#x} parity {} (phase {}, {} arrivals and {} bytes missing)", barrier.name,
                         thread.wait_address, thread.wait_parity, barrier.phase, barrier.pending, barrier.bytes);
    }
    case Waiting::kForNamedBarrier: {
      const NamedBarrier& barrier = block.named_barriers[thread.wait_address];
      return fmt::format("bar.sync {} ({} of {} arrived)", thread.wait_address, barrier.arrived,
                         barrier.expected < 0 ? block.live : barrier.expected);
    }
    case Waiting::kForWarp:
      return fmt::format("the other lanes of {} with mask {:08x}", thread.operation, thread.wait_address);
    default:
      return thread.operation;
  }
}

}  // namespace

std::string describe(const Thread& thread) {
  const Dim3& index = thread.block->index;
  return fmt::format("block ({},{},{}) thread {} (warp {} lane {}), {} line {}", index.x, index.y, index.z, thread.id,
                     thread.warp->id, thread.lane, thread.operation, thread.line);
}

std::string describe_deadlock(const std::vector<std::unique_ptr<Block>>& blocks) {
  std::string report = "deadlock:";
  for (const auto& block : blocks) {
    for (const auto& warp : block->warps) {
      std::map<std::string, std::pair<int, int>> lanes;  // reason: how many, and the first
      for (const Thread* thread : warp->threads) {
        if (!thread || thread->waiting == Waiting::kExited) continue;
        auto& [count, first] = lanes[fmt::format("{} line {}", reason(*thread), thread->line)];
        if (count++ == 0) first = thread->lane;
      }
      for (const auto& [why, who] : lanes)
        report += fmt::format("\n    block {} warp {}: {} lane(s) from lane {} wait for {}", block->id, warp->id, who.first,
                              who.second, why);
      if (report.size() > kLongestReport) return report + "\n    ...";
    }
  }
  return report;
}

}  // namespace longspan::simt
