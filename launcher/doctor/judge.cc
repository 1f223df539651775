#include "launcher/doctor/judge.h"

#include <fmt/format.h>

#include <algorithm>

#include "launcher/doctor/topics.h"
#include "launcher/exit_status.h"
#include "launcher/host_threads.h"

namespace longspan::doctor {

std::vector<int> threads_of_host(const Examination& found, const std::vector<int>& ranks) {
  std::vector<CpuMask> masks;
  int quota = 0;
  for (const int rank : ranks) {
    const CpuFacts& cpu = found.ranks[static_cast<size_t>(rank)].cpu;
    CpuMask mask;
    for (const int one : cpu.allowed) {
      if (one < kMaxCpus) mask.set(static_cast<size_t>(one));
    }
    masks.push_back(mask);
    quota = static_cast<int>(cpu.quota);
  }
  std::vector<int> threads;
  for (size_t rank = 0; rank < masks.size(); ++rank) {
    threads.push_back(threads_of_rank(masks, static_cast<int>(rank), quota));
  }
  return threads;
}

std::string variable(const Facts& facts, const std::string& name) {
  const auto it = facts.environment.find(name);
  return it == facts.environment.end() ? "" : it->second;
}

std::string name_rank(const Examination& found, int rank) {
  return fmt::format("rank {} on {}", rank, found.ranks[static_cast<size_t>(rank)].host);
}

std::vector<Finding> judge(const Examination& found) {
  std::vector<Finding> findings;
  Roll roll(found, findings);
  judge_machine(found, roll);
  judge_mpi(found, roll);
  judge_placement(found, roll);
  judge_binding(found, roll);
  judge_memory(found, roll);
  judge_storage(found, roll);
  judge_clocks(found, roll);
  judge_network(found, roll);
  judge_environment(found, roll);
  return findings;
}

int exit_code_of(const Examination& found, const std::vector<Finding>& findings) {
  if (!found.silences.empty()) return exit_code(ErrorKind::kCommunication);
  const bool has_error = std::any_of(findings.begin(), findings.end(),
                                     [](const Finding& finding) { return finding.status == Status::kError; });
  return has_error ? exit_code(ErrorKind::kResource) : kExitDone;
}

}  // namespace longspan::doctor
