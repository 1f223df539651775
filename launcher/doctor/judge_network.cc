#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "launcher/doctor/topics.h"

namespace longspan::doctor {
namespace {

constexpr double kTolerableOffset = 1e-3;   // seconds
constexpr double kFirstSensible = 1.7e9;    // November 2023, before this program was written
constexpr size_t kMostPairs = 40;           // that are listed one by one

std::string name_pair(const Examination& found, const PairResult& pair, const char* between) {
  return fmt::format("{} {} {}", name_rank(found, pair.first), between, name_rank(found, pair.second));
}

std::string describe(const PairResult& pair) {
  return fmt::format("{} each way, latency {}", format_amount(pair.bytes_per_second, Unit::kBytesPerSecond),
                     format_amount(pair.latency_seconds, Unit::kSeconds));
}

double median_of(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Pairs of one kind: a line for each, or their range if they are many; the slowest is named.
void judge_pairs(const Examination& found, const std::vector<PairResult>& pairs, const char* kind, Roll& roll) {
  if (pairs.empty()) return;
  std::vector<double> rates, latencies;
  for (const PairResult& pair : pairs) {
    rates.push_back(pair.bytes_per_second);
    latencies.push_back(pair.latency_seconds);
  }
  const double rate = median_of(rates), latency = median_of(latencies);
  const auto is_slow = [&](const PairResult& pair) {
    return pair.bytes_per_second < rate / 2 || pair.latency_seconds > std::max(4 * latency, 1e-4 + latency);
  };
  for (const PairResult& pair : pairs) {
    if (is_slow(pair)) {
      roll.say(Topic::kNetwork, Status::kWarning,
               fmt::format("slow: {}: {}; the median {} is {}", name_pair(found, pair, "and"), describe(pair), kind,
                           format_amount(rate, Unit::kBytesPerSecond)),
               "one slow link holds the whole ring up: look at its cable, switch port and interface (ethtool), leave the host "
               "out, or name the fast interface: export OMPI_MCA_btl_tcp_if_include=...");
    } else if (pairs.size() <= kMostPairs) {
      roll.say(Topic::kNetwork, Status::kOk, fmt::format("{}: {}", name_pair(found, pair, "and"), describe(pair)));
    }
  }
  if (pairs.size() < 2) return;
  const auto slowest = std::min_element(pairs.begin(), pairs.end(), [](const PairResult& a, const PairResult& b) {
    return a.bytes_per_second < b.bytes_per_second;
  });
  roll.say(Topic::kNetwork, Status::kOk,
           fmt::format("{} pairs {}: median {}, slowest {} with {}", pairs.size(), kind,
                       format_amount(rate, Unit::kBytesPerSecond), name_pair(found, *slowest, "and"),
                       format_amount(slowest->bytes_per_second, Unit::kBytesPerSecond)));
}

}  // namespace

void judge_network(const Examination& found, Roll& roll) {
  for (const std::string& silence : found.silences) {
    roll.say(Topic::kNetwork, Status::kError, silence,
             "see whether that process lives and its host answers (firewall between the hosts? several networks? then export "
             "OMPI_MCA_btl_tcp_if_include=...); nothing more was measured");
  }
  if (!found.skipped.empty()) {
    roll.say(Topic::kNetwork, Status::kNote, "not measured: " + found.skipped, "mend that first, then run this again");
  }
  std::vector<PairResult> between, within;
  for (const PairResult& pair : found.pairs) {
    const auto host = [&](int rank) { return found.ranks[static_cast<size_t>(rank)].host; };
    (host(pair.first) == host(pair.second) ? within : between).push_back(pair);
  }
  judge_pairs(found, between, "between hosts", roll);
  judge_pairs(found, within, "within hosts", roll);
  if (found.ring.bytes_per_second > 0) {
    roll.say(Topic::kNetwork, Status::kOk,
             fmt::format("ring of all {} ranks at once: {} each way for the slowest", found.ranks.size(),
                         format_amount(found.ring.bytes_per_second, Unit::kBytesPerSecond)));
  }
  if (found.ranks.size() == 1 && found.silences.empty()) {
    roll.say(Topic::kNetwork, Status::kOk, "one rank: nothing to measure; mpirun -np N longspan doctor examines N");
  }
}

void judge_clocks(const Examination& found, Roll& roll) {
  for (const ClockResult& clock : found.clocks) {
    const double size = std::abs(clock.offset_seconds);
    const std::string text = fmt::format("the clock of {} is {} {} that of {}, give or take {}",
                                         found.ranks[static_cast<size_t>(clock.rank)].host,
                                         format_amount(size, Unit::kSeconds), clock.offset_seconds < 0 ? "behind" : "ahead of",
                                         found.ranks.front().host, format_amount(clock.uncertainty_seconds, Unit::kSeconds));
    const bool off = size - clock.uncertainty_seconds > kTolerableOffset;
    roll.say(Topic::kClocks, off ? Status::kWarning : Status::kOk, text,
             off ? "logs and traces of the two will not line up: run chrony or ntpd on both (timedatectl)" : "");
  }
  roll.of_hosts(Topic::kClocks, [](const Facts& facts, const auto&) -> std::optional<Remark> {
    if (facts.unix_seconds < 0 || facts.unix_seconds >= kFirstSensible) return {};
    return Remark{Status::kError, "the clock is before the year 2024",
                  "set it (timedatectl set-ntp true): file times and logs would mislead"};
  });
  roll.of_hosts(Topic::kClocks, [](const Facts& facts, const auto&) -> std::optional<Remark> {
    if (facts.clock_is_kept == 0) {
      return Remark{Status::kNote, "the kernel does not know its clock to be kept by NTP",
                    "timedatectl tells; in a virtual machine the host may keep it"};
    }
    if (facts.clock_is_kept == 1) return Remark{Status::kOk, "the clock is kept by NTP", ""};
    return {};
  });
  roll.of_hosts(Topic::kClocks, [](const Facts& facts, const auto&) -> std::optional<Remark> {
    if (facts.uptime_seconds <= 0) return {};
    return Remark{Status::kOk, "up for {} hours", "", facts.uptime_seconds / 3600};
  });
}

}  // namespace longspan::doctor
