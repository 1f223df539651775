#include "launcher/doctor/examine.h"

#include <algorithm>
#include <map>

#include "core/base/error.h"
#include "launcher/doctor/measure.h"
#include "launcher/doctor/mpi_facts.h"
#include "launcher/join.h"

namespace longspan::doctor {
namespace {

constexpr size_t kAllPairsUpTo = 16;  // hosts
// Seconds. Ranks start within the first; what a rank measures alone takes one, and many may share a core; a measurement
// gives up on a silent partner after five.
constexpr double kUntilAllAreThere = 10, kUntilAllHaveLooked = 20, kUntilReported = 8, kUntilOrdered = 300;

enum class Order { kPair, kClock, kRing, kRead, kEnd };

// An order is what and three numbers; a report is whether it went well and two.
using Numbers = std::vector<double>;
constexpr size_t kNumNumbers = 4;

Numbers padded(Numbers numbers) {
  numbers.resize(kNumNumbers);
  return numbers;
}

// What ranks other than 0 do until they are told to end.
void follow_orders(Dialogue& dialogue) {
  while (true) {
    const Numbers order = dialogue.exchange(0, padded({}), kUntilOrdered, Waiting::kNapping);
    Numbers report;
    try {
      switch (static_cast<Order>(order[0])) {
        case Order::kEnd: return;
        case Order::kPair: {
          const PairResult pair = measure_pair(dialogue, static_cast<int>(order[1]));
          report = {1, pair.latency_seconds, pair.bytes_per_second};
          break;
        }
        case Order::kClock: answer_clock(dialogue, 0, wall_clock), report = {1}; break;
        case Order::kRing: {
          const RingPass pass = measure_ring(dialogue, static_cast<int64_t>(order[1]));
          report = {1, pass.seconds, pass.exposed};
          break;
        }
        case Order::kRead: {
          const Mailbox mailbox{static_cast<int64_t>(order[1]), static_cast<int64_t>(order[2]),
                                static_cast<int64_t>(order[3])};
          report = {1, can_read(mailbox) ? 1.0 : 0.0};
          break;
        }
      }
    } catch (const CommError&) {
      report = {0};
    }
    dialogue.exchange(0, padded(report), kUntilOrdered, Waiting::kNapping);
  }
}

// Rank 0.
class Examiner {
 public:
  Examiner(Dialogue& dialogue, Examination& found) : dialogue_(dialogue), found_(found) {}

  void run() {
    const auto hosts = ranks_of_hosts(found_.ranks);
    if (can_go_on()) see_who_can_read(hosts);
    if (!found_.skipped.empty()) return end();
    std::vector<int> members;
    Round within;
    for (const auto& host : hosts) {
      members.push_back(host.front());
      if (host.size() > 1) within.emplace_back(host[0], host[1]);
    }
    std::vector<Round> rounds = rounds_between(members);
    if (!within.empty()) rounds.push_back(within);
    for (const Round& round : rounds) {
      if (can_go_on()) measure(round);
    }
    for (size_t host = 1; host < hosts.size() && can_go_on(); ++host) read_clock(hosts[host].front());
    if (can_go_on()) measure_all();
    end();
  }

 private:
  bool can_go_on() const { return found_.silences.empty(); }

  std::string name(int rank) const {
    return fmt::format("rank {} on {}", rank, found_.ranks[static_cast<size_t>(rank)].host);
  }

  // Both are silent about what the other, or rank 0, waits for.
  void note_silence(int rank, const std::string& what) {
    found_.silences.push_back(fmt::format("{} did not answer: {}", name(rank), what));
  }

  bool order(int rank, const Numbers& numbers, const std::string& what) {
    try {
      dialogue_.exchange(rank, padded(numbers), kUntilReported);
      return true;
    } catch (const CommError&) {
      note_silence(rank, what);
      return false;
    }
  }

  // Empty if the rank is silent.
  Numbers report(int rank, const std::string& what) {
    try {
      return dialogue_.exchange(rank, padded({}), kUntilReported, Waiting::kNapping);
    } catch (const CommError&) {
      note_silence(rank, what);
      return {};
    }
  }

  void see_who_can_read(const std::vector<std::vector<int>>& hosts) {
    for (const auto& host : hosts) {
      if (host.size() < 2 || !can_go_on()) continue;
      const Mailbox& of = found_.ranks[static_cast<size_t>(host[0])].mpi.mailbox;
      MpiFacts& reader = found_.ranks[static_cast<size_t>(host[1])].mpi;
      const Numbers numbers = {static_cast<double>(Order::kRead), static_cast<double>(of.pid),
                               static_cast<double>(of.address), static_cast<double>(of.cookie)};
      if (!order(host[1], numbers, "asked to read memory")) continue;
      const Numbers answer = report(host[1], "asked to read memory");
      if (answer.empty()) continue;
      reader.reads_neighbour = answer[1] != 0;
      if (!reader.reads_neighbour && reader.single_copy == "cma") {
        found_.skipped = "Open MPI would copy long messages from memory that " + name(host[1]) + " cannot read";
      }
    }
  }

  void measure(const Round& round) {
    for (const auto& [first, second] : round) {
      for (const int rank : {first, second}) {
        const int partner = rank == first ? second : first;
        if (rank == 0) continue;
        if (!order(rank, {static_cast<double>(Order::kPair), static_cast<double>(partner)}, "asked to measure")) return;
      }
    }
    std::map<int, Numbers> reports;  // each pair has two
    for (const auto& [first, second] : round) {
      if (first != 0 && second != 0) continue;
      const int partner = std::max(first, second);
      try {
        const PairResult pair = measure_pair(dialogue_, partner);
        reports[0] = padded({1, pair.latency_seconds, pair.bytes_per_second});
      } catch (const CommError&) {
        reports[0] = padded({});
      }
    }
    for (const auto& pair : round) {
      for (const int rank : {pair.first, pair.second}) {
        if (rank != 0) reports[rank] = report(rank, "asked for what it measured");
      }
      keep(pair.first, pair.second, reports[pair.first], reports[pair.second]);
    }
  }

  void keep(int first, int second, const Numbers& of_first, const Numbers& of_second) {
    if (of_first.empty() || of_second.empty()) return;
    if (of_first[0] == 0 || of_second[0] == 0) {
      found_.silences.push_back(fmt::format("{} and {} did not answer each other", name(first), name(second)));
      return;
    }
    found_.pairs.push_back({first, second, std::max(of_first[1], of_second[1]), std::min(of_first[2], of_second[2])});
  }

  void read_clock(int rank) {
    if (!order(rank, {static_cast<double>(Order::kClock)}, "asked for the time")) return;
    try {
      found_.clocks.push_back(ask_clock(dialogue_, rank));
      report(rank, "asked for the time");
    } catch (const CommError&) {
      note_silence(rank, "asked for the time");
    }
  }

  void measure_all() {
    if (found_.ranks.size() < 2) return;
    double slowest = 1e10;
    for (const PairResult& pair : found_.pairs) slowest = std::min(slowest, pair.bytes_per_second);
    const double num_bytes = std::clamp(0.05 * slowest, 65536.0, 4194304.0);
    const int size = dialogue_.size();
    for (int rank = 1; rank < size; ++rank) {
      if (!order(rank, {static_cast<double>(Order::kRing), num_bytes}, "asked to join the ring")) return;
    }
    RingPass slowest_pass;
    std::vector<std::string> without;
    try {
      slowest_pass = measure_ring(dialogue_, static_cast<int64_t>(num_bytes));
    } catch (const CommError&) {
      without.push_back(name(0));
    }
    for (int rank = 1; rank < size && can_go_on(); ++rank) {
      const Numbers answer = report(rank, "asked for what it measured in the ring");
      if (answer.empty()) return;
      if (answer[0] == 0) without.push_back(name(rank));
      slowest_pass.seconds = std::max(slowest_pass.seconds, answer[1]);
      slowest_pass.exposed = std::max(slowest_pass.exposed, answer[2]);
    }
    if (without.empty()) {
      found_.ring = {num_bytes / slowest_pass.seconds, slowest_pass.exposed};
    } else {
      found_.silences.push_back("the ring of all ranks did not come round: no message from the rank before, or none taken by "
                                "the rank after, " + join(without, ", "));
    }
  }

  void end() {
    for (int rank = 1; rank < dialogue_.size() && can_go_on(); ++rank) {
      order(rank, {static_cast<double>(Order::kEnd)}, "told to end");
    }
  }

  Dialogue& dialogue_;
  Examination& found_;
};

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
    Examiner(dialogue, found).run();
  }
  return found;
}

}  // namespace longspan::doctor
