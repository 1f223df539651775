#include "launcher/doctor/orders.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/base/error.h"
#include "launcher/doctor/examine.h"
#include "launcher/doctor/measure.h"
#include "launcher/doctor/mpi_facts.h"
#include "launcher/join.h"

namespace longspan::doctor {
namespace {

// Seconds. A measurement gives up on a silent partner after five.
constexpr double kUntilReported = 8, kUntilOrdered = 300;

enum class Order { kPair, kClock, kRing, kRead, kEnd };

// An order is what and three numbers; a report is whether it went well and two.
using Numbers = std::vector<double>;
constexpr size_t kNumNumbers = 4;

Numbers padded(Numbers numbers) {
  numbers.resize(kNumNumbers);
  return numbers;
}

// Rank 0.
class Examiner {
 public:
  Examiner(Dialogue& dialogue, Examination& found) : dialogue_(dialogue), found_(found) {}

  void run() {
    const auto hosts = ranks_of_hosts(found_.ranks);
    if (can_go_on()) see_who_can_read(hosts);
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
      const Numbers numbers = {static_cast<double>(Order::kRead), static_cast<double>(of.pid),
                               static_cast<double>(of.address), static_cast<double>(of.cookie)};
      if (!order(host[1], numbers, "asked to read memory")) continue;
      const Numbers answer = report(host[1], "asked to read memory");
      if (!answer.empty()) found_.ranks[static_cast<size_t>(host[1])].mpi.reads_neighbour = answer[1] != 0;
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
      found_.silences.push_back(
          "the ring of all ranks did not come round: no message from the rank before, or none taken by "
          "the rank after, " +
          join(without, ", "));
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

}  // namespace

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

void give_orders(Dialogue& dialogue, Examination& found) {
  Examiner(dialogue, found).run();
}

}  // namespace longspan::doctor
