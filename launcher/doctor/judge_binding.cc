#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "launcher/system_files.h"
#include "launcher/doctor/topics.h"

namespace longspan::doctor {
namespace {

constexpr const char* kUnbind =
    "let longspan share the CPUs out itself: mpirun --bind-to none (cluster/mpirun.sh does), srun --cpu-bind=none";

const CpuFacts& cpu_of(const Examination& found, int rank) {
  return found.ranks[static_cast<size_t>(rank)].cpu;
}

std::vector<int> union_of(const Examination& found, const std::vector<int>& ranks) {
  std::set<int> all;
  for (const int rank : ranks) all.insert(cpu_of(found, rank).allowed.begin(), cpu_of(found, rank).allowed.end());
  return {all.begin(), all.end()};
}

// Ranks of a host by the CPUs they may use.
std::map<std::vector<int>, std::vector<int>> by_mask(const Examination& found, const std::vector<int>& ranks) {
  std::map<std::vector<int>, std::vector<int>> groups;
  for (const int rank : ranks) groups[cpu_of(found, rank).allowed].push_back(rank);
  return groups;
}

// More ranks than CPUs to run them, be it by masks or by a quota.
std::optional<Remark> oversubscription(const Examination& found, const std::vector<int>& ranks) {
  const auto usable = static_cast<int64_t>(union_of(found, ranks).size());
  if (usable == 0) return {};
  const int64_t quota = cpu_of(found, ranks.front()).quota;
  const int64_t cpus = quota > 0 ? std::min(quota, usable) : usable;
  const std::vector<int> threads = threads_of_host(found, ranks);
  const int total = std::accumulate(threads.begin(), threads.end(), 0);
  const std::string limited = quota > 0 && quota < usable ? fmt::format(" (a quota; {} are visible)", usable) : "";
  const std::string text =
      fmt::format("{} rank{} with {} thread{} in all on {} CPU{}{}", ranks.size(), ranks.size() == 1 ? "" : "s", total,
                  total == 1 ? "" : "s", cpus, cpus == 1 ? "" : "s", limited);
  if (static_cast<int64_t>(ranks.size()) > cpus) {
    return Remark{
        Status::kWarning, text,
        fmt::format("ranks take turns, and every hop waits for the one whose turn is last: start at most {} on "
                    "such a host, or more hosts",
                    cpus)};
  }
  if (total > cpus) return Remark{Status::kWarning, text, kUnbind};
  return Remark{Status::kOk, text, ""};
}

// Ranks of one host whose CPUs are the same although others are free, or overlap in part.
std::optional<Remark> overlaps(const Examination& found, const std::vector<int>& ranks) {
  const auto groups = by_mask(found, ranks);
  const int64_t online = cpu_of(found, ranks.front()).online;
  for (const auto& [cpus, members] : groups) {
    if (members.size() <= cpus.size() || online <= static_cast<int64_t>(cpus.size())) continue;
    return Remark{Status::kWarning,
                  fmt::format("ranks {} are bound to the same CPU{} {}; the host has {}", format_cpu_list(members),
                              cpus.size() == 1 ? "" : "s", format_cpu_list(cpus), online),
                  kUnbind};
  }
  for (auto a = groups.begin(); a != groups.end(); ++a) {
    for (auto b = std::next(a); b != groups.end(); ++b) {
      std::vector<int> both;
      std::set_intersection(a->first.begin(), a->first.end(), b->first.begin(), b->first.end(),
                            std::back_inserter(both));
      if (both.empty()) continue;
      return Remark{Status::kWarning,
                    fmt::format("ranks {} and {} overlap in part, on CPU{} {}", format_cpu_list(a->second),
                                format_cpu_list(b->second), both.size() == 1 ? "" : "s", format_cpu_list(both)),
                    std::string("threads of both take turns there: ") + kUnbind};
    }
  }
  return {};
}

// CPUs that nobody may use, most often since mpirun binds one or two ranks to a core each.
std::optional<Remark> idle_cpus(const Examination& found, const std::vector<int>& ranks) {
  const std::vector<int> usable = union_of(found, ranks);
  const int64_t online = cpu_of(found, ranks.front()).online;
  if (usable.empty() || online <= static_cast<int64_t>(usable.size())) return {};
  const bool to_cores =
      std::all_of(ranks.begin(), ranks.end(), [&](int rank) { return cpu_of(found, rank).allowed.size() <= 1; });
  const std::string text = fmt::format("ranks may use {} of the host's {} CPUs{}", usable.size(), online,
                                       to_cores ? ", each one alone" : "");
  if (to_cores) {
    return Remark{Status::kWarning, text, std::string("mpirun binds up to two ranks to a core each: ") + kUnbind};
  }
  return Remark{Status::kNote, text, "fine if the rest belongs to others; else ask for more CPUs a rank, or unbind"};
}

std::optional<Remark> numa(const Facts& facts, size_t num_ranks) {
  if (facts.cpu.nodes.size() < 2) return {};
  const std::string text = fmt::format("CPUs of NUMA nodes {}", format_cpu_list(facts.cpu.nodes));
  if (num_ranks < facts.cpu.nodes.size()) {
    return Remark{
        Status::kNote, text + " belong to one rank",
        "memory of the other node is slower: start a rank for each node (mpirun --map-by numa --bind-to numa)"};
  }
  return Remark{Status::kNote, text + " are open to each rank",
                "memory may end up on the other node: mpirun --map-by numa --bind-to numa, srun --cpu-bind=ldoms"};
}

// Two hardware threads of one core.
std::optional<Remark> siblings(const Examination& found, const std::vector<int>& ranks) {
  std::set<int> cpus, cores;
  for (const int rank : ranks) {
    cpus.insert(cpu_of(found, rank).allowed.begin(), cpu_of(found, rank).allowed.end());
    cores.insert(cpu_of(found, rank).cores.begin(), cpu_of(found, rank).cores.end());
  }
  if (cores.empty() || cores.size() == cpus.size()) return {};
  return Remark{
      Status::kNote, fmt::format("{} CPUs are hardware threads of {} cores", cpus.size(), cores.size()),
      fmt::format("dense arithmetic gains little from the second thread: try threads_per_rank so that {} threads run "
                  "in all",
                  cores.size())};
}

}  // namespace

void judge_binding(const Examination& found, Roll& roll) {
  roll.of_hosts(Topic::kBinding, [&](const Facts&, const auto& ranks) { return oversubscription(found, ranks); });
  roll.of_hosts(Topic::kBinding, [&](const Facts&, const auto& ranks) { return overlaps(found, ranks); });
  roll.of_hosts(Topic::kBinding, [&](const Facts&, const auto& ranks) { return idle_cpus(found, ranks); });
  roll.of_hosts(Topic::kBinding, [&](const Facts&, const auto& ranks) { return siblings(found, ranks); });
  std::map<std::string, size_t> ranks_on;
  for (const Facts& facts : found.ranks) ++ranks_on[facts.host];
  roll.of_ranks(Topic::kBinding, [&](const Facts& facts, int) { return numa(facts, ranks_on[facts.host]); });
}

}  // namespace longspan::doctor
