// Where the ranks lie: what of a mesh stays inside a host.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "launcher/doctor/topics.h"
#include "launcher/join.h"
#include "launcher/system_files.h"
#include "parallel/comm/mesh_map.h"

namespace longspan::doctor {
namespace {

// By rank, the number of its host.
std::vector<int> host_of_rank(const Examination& found, const Roll& roll) {
  std::vector<int> hosts(found.ranks.size());
  for (size_t host = 0; host < roll.hosts().size(); ++host) {
    for (const int rank : roll.hosts()[host]) hosts[static_cast<size_t>(rank)] = static_cast<int>(host);
  }
  return hosts;
}

std::string map_text(const Examination& found, const Roll& roll) {
  constexpr size_t kMostHosts = 8;
  std::vector<std::string> lines;
  for (const std::vector<int>& ranks : roll.hosts()) {
    if (lines.size() == kMostHosts) {
      lines.push_back(fmt::format("and {} hosts more", roll.hosts().size() - kMostHosts));
      break;
    }
    const std::string& host = found.ranks[static_cast<size_t>(ranks.front())].host;
    lines.push_back(fmt::format("{} has {}", host, format_cpu_list(ranks)));
  }
  return join(lines, ", ");
}

}  // namespace

void judge_placement(const Examination& found, Roll& roll) {
  if (roll.hosts().size() < 2) return;
  int together = 0;
  for (const std::vector<int>& ranks : roll.hosts()) together = std::gcd(together, static_cast<int>(ranks.size()));
  const MeshMap map({.context = static_cast<int>(found.ranks.size())}, host_of_rank(found, roll));
  const std::string order =
      map.is_identity() ? "" : "; they were dealt to the hosts in turn, and take their places in the mesh by host";
  std::string text = fmt::format("ranks by host: {}{}\n", map_text(found, roll), order);
  if (together > 1) {
    roll.say(Topic::kMpi, Status::kOk,
             text + fmt::format("mesh.tensor stays on a host if it divides {}, and context if tensor x context does; "
                                "longspan plan --config FILE, started as the run is, shows its mesh",
                                together));
    return;
  }
  const auto fewer = [](const std::vector<int>& a, const std::vector<int>& b) { return a.size() < b.size(); };
  const auto [least, most] = std::minmax_element(roll.hosts().begin(), roll.hosts().end(), fewer);
  if (most->size() == 1) {
    return roll.say(Topic::kMpi, Status::kOk, text + "one rank on each: every axis of a mesh lies across hosts");
  }
  roll.say(Topic::kMpi, Status::kWarning,
           text + fmt::format("hosts have {} to {} ranks, with no divisor in common: every mesh.tensor and mesh.context above 1 "
                              "lies across hosts somewhere",
                              least->size(), most->size()),
           "start as many ranks on each host");
}

}  // namespace longspan::doctor
