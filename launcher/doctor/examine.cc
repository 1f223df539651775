#include "launcher/doctor/examine.h"

#include <fmt/format.h>

#include <map>

#include "launcher/doctor/orders.h"

namespace longspan::doctor {
namespace {

constexpr size_t kAllPairsUpTo = 16;  // hosts
// Seconds. Ranks start within the first; what a rank measures alone takes one, and many may share a core.
constexpr double kUntilAllAreThere = 10, kUntilAllHaveLooked = 20;

void note_silent(Examination& found, const std::vector<int>& silent, const std::vector<std::string>& hosts,
                 const std::string& what) {
  for (const int rank : silent) {
    const std::string& host = hosts[static_cast<size_t>(rank)];
    found.silences.push_back(fmt::format("rank {}{} {}", rank, host.empty() ? "" : " on " + host, what));
  }
}

}  // namespace

std::vector<std::vector<int>> ranks_of_hosts(const std::vector<Facts>& ranks) {
  std::vector<std::vector<int>> hosts;
  std::map<std::string, size_t> index;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    const auto [at, is_new] = index.try_emplace(ranks[rank].host, hosts.size());
    if (is_new) hosts.emplace_back();
    hosts[at->second].push_back(static_cast<int>(rank));
  }
  return hosts;
}

std::vector<Round> rounds_between(const std::vector<int>& members) {
  std::vector<Round> rounds;
  const size_t count = members.size();
  if (count <= kAllPairsUpTo) {
    for (size_t i = 0; i < count; ++i) {
      for (size_t j = i + 1; j < count; ++j) rounds.push_back({{members[i], members[j]}});
    }
    return rounds;
  }
  // The ring, its even edges and its odd ones; a ring of odd length has one edge left over.
  rounds.resize(4);
  for (size_t i = 0; i + 1 < count; ++i) rounds[i % 2].emplace_back(members[i], members[i + 1]);
  rounds[count % 2 == 0 ? 1 : 2].emplace_back(members[0], members[count - 1]);
  for (size_t i = 0; i < count / 2; ++i) rounds[3].emplace_back(members[i], members[i + count / 2]);
  std::erase_if(rounds, [](const Round& round) { return round.empty(); });
  return rounds;
}

Examination examine(Communicator& world, const std::string& host, const Look& look) {
  Dialogue dialogue(world);
  Examination found;
  std::vector<int> silent;
  const std::vector<std::string> hosts = dialogue.gather(host, kUntilAllAreThere, silent);
  note_silent(found, silent, hosts, "did not say which host it is on");
  Facts mine = look();
  mine.host = host;
  if (!silent.empty()) return found.ranks.push_back(std::move(mine)), found;
  const std::vector<std::string> texts = dialogue.gather(to_text(mine), kUntilAllHaveLooked, silent);
  note_silent(found, silent, hosts, "did not send its facts");
  for (size_t rank = 0; rank < texts.size(); ++rank) {
    found.ranks.push_back(texts[rank].empty() ? Facts{} : facts_from_text(texts[rank]));
    found.ranks.back().host = hosts[rank];
  }
  if (world.rank() != 0) {
    found.ranks.push_back(std::move(mine));
    follow_orders(dialogue);
  } else if (silent.empty()) {
    give_orders(dialogue, found);
  }
  return found;
}

}  // namespace longspan::doctor
