#include <fmt/format.h>

#include <algorithm>

#include "launcher/doctor/topics.h"

namespace longspan::doctor {
namespace {

constexpr double kGiB = 0x1p30, kMiB = 0x1p20;

std::optional<Remark> available(const Facts& facts, size_t num_ranks) {
  const MemoryFacts& memory = facts.memory;
  if (memory.available_bytes < 0) return {};
  const bool limited = memory.group_limit_bytes >= 0 && memory.group_limit_bytes < memory.total_bytes;
  const double usable = static_cast<double>(limited ? std::min(memory.group_limit_bytes, memory.available_bytes)
                                                    : memory.available_bytes);
  const double each = usable / static_cast<double>(num_ranks);
  const Status status = each < 256 * kMiB ? Status::kError : each < kGiB ? Status::kWarning : Status::kOk;
  const std::string advice =
      status == Status::kOk ? "" : "start fewer ranks on a host, free memory or ask for more (srun --mem)";
  return Remark{status, "{} of memory for each rank", advice, each, Unit::kBytes};
}

std::optional<Remark> group_limit(const Facts& facts) {
  const MemoryFacts& memory = facts.memory;
  if (memory.group_limit_bytes < 0 || memory.group_limit_bytes >= memory.total_bytes) return {};
  return Remark{Status::kNote,
                fmt::format("a control group limits the ranks of a host to {} of {}",
                            format_amount(static_cast<double>(memory.group_limit_bytes), Unit::kBytes),
                            format_amount(static_cast<double>(memory.total_bytes), Unit::kBytes)),
                "past it the kernel kills a rank without a message; pages of files that are read count, too"};
}

std::optional<Remark> swap(const Facts& facts) {
  if (facts.memory.swap_bytes < 0) return {};
  if (facts.memory.swap_bytes == 0) return Remark{Status::kOk, "no swap", ""};
  return Remark{Status::kNote, "{} of swap",
                "a rank that swaps holds all others up: watch the available memory, or swapoff -a for the run",
                static_cast<double>(facts.memory.swap_bytes), Unit::kBytes};
}

std::optional<Remark> huge_pages(const Facts& facts) {
  const std::string& mode = facts.memory.huge_pages;
  if (mode.empty()) return {};
  if (mode != "never") return Remark{Status::kOk, "transparent huge pages: " + mode, ""};
  return Remark{Status::kNote, "transparent huge pages: never",
                "large matrices miss the page cache of the CPU more often: echo madvise > "
                "/sys/kernel/mm/transparent_hugepage/enabled"};
}

std::optional<Remark> lock_limit(const Facts& facts) {
  const int64_t limit = facts.memory.lock_bytes;
  if (limit < 0) return {};
  const bool rdma = facts.memory.rdma_devices > 0;
  if (limit == kUnlimited) return Remark{Status::kOk, "memory may be locked without limit", ""};
  if (rdma && static_cast<double>(limit) < kGiB) {
    return Remark{
        static_cast<double>(limit) < kMiB ? Status::kError : Status::kWarning,
        "{} may be locked (ulimit -l), and this host has RDMA devices, which lock every buffer they send",
        "raise memlock to unlimited in /etc/security/limits.conf, LimitMEMLOCK of slurmd or docker run --ulimit "
        "memlock=-1",
        static_cast<double>(limit), Unit::kBytes};
  }
  return Remark{rdma ? Status::kOk : Status::kNote, "{} may be locked (ulimit -l)",
                rdma ? "" : "enough for TCP and shared memory; an RDMA network or pinned memory would want unlimited",
                static_cast<double>(limit), Unit::kBytes};
}

std::optional<Remark> file_limit(const Facts& facts, size_t num_ranks) {
  const int64_t limit = facts.memory.files;
  if (limit < 0) return {};
  // A TCP connection to every other rank, and what a run has open besides.
  const auto needed = static_cast<int64_t>(num_ranks) + 64;
  if (limit == kUnlimited) return Remark{Status::kOk, "open files without limit", ""};
  const Status status = limit < needed ? Status::kError : limit < 2 * needed ? Status::kWarning : Status::kOk;
  return Remark{status, "{} open files (ulimit -n)",
                status == Status::kOk ? ""
                                      : fmt::format("{} ranks may need {}: ulimit -n 65536, and LimitNOFILE of slurmd",
                                                    num_ranks, needed),
                static_cast<double>(limit)};
}

std::optional<Remark> address_limit(const Facts& facts) {
  const int64_t limit = facts.memory.address_bytes;
  if (limit < 0 || limit == kUnlimited) return {};
  return Remark{
      static_cast<double>(limit) < 4 * kGiB ? Status::kError : Status::kWarning,
      "the address space is limited to {} (ulimit -v)",
      "MPI and threads reserve much more than they use, and memory seems to run out early: ulimit -v unlimited",
      static_cast<double>(limit), Unit::kBytes};
}

std::optional<Remark> stack_limit(const Facts& facts) {
  const int64_t limit = facts.memory.stack_bytes;
  if (limit < 0 || static_cast<double>(limit) >= kMiB) return {};
  return Remark{Status::kWarning, "a stack has {} (ulimit -s)", "libraries may crash in deep calls: ulimit -s 8192",
                static_cast<double>(limit), Unit::kBytes};
}

}  // namespace

void judge_memory(const Examination& found, Roll& roll) {
  const size_t all = found.ranks.size();
  roll.of_hosts(Topic::kMemory, [](const Facts& facts, const auto& ranks) { return available(facts, ranks.size()); });
  roll.of_hosts(Topic::kMemory, [](const Facts& facts, const auto&) { return group_limit(facts); });
  roll.of_hosts(Topic::kMemory, [](const Facts& facts, const auto&) { return swap(facts); });
  roll.of_hosts(Topic::kMemory, [](const Facts& facts, const auto&) { return huge_pages(facts); });
  roll.of_ranks(Topic::kMemory, [](const Facts& facts, int) { return lock_limit(facts); });
  roll.of_ranks(Topic::kMemory, [&](const Facts& facts, int) { return file_limit(facts, all); });
  roll.of_ranks(Topic::kMemory, [](const Facts& facts, int) { return address_limit(facts); });
  roll.of_ranks(Topic::kMemory, [](const Facts& facts, int) { return stack_limit(facts); });
}

}  // namespace longspan::doctor
