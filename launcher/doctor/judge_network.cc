#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "launcher/doctor/topics.h"

namespace longspan::doctor {
namespace {

constexpr size_t kMostInTable = 16;  // hosts

constexpr const char* kSlowLink =
    "one slow link holds the whole ring up: look at cable, switch port and interface (ethtool), leave the host out, or "
    "name the "
    "fast interface: export OMPI_MCA_btl_tcp_if_include=...";
constexpr const char* kSlowHost =
    "memory is what ranks of a host talk through: look for other programs there (top), and at which cores the ranks "
    "are bound to";

std::string name_pair(const Examination& found, const PairResult& pair) {
  return fmt::format("{} and {}", name_rank(found, pair.first), name_rank(found, pair.second));
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

// One number in the row of one host and the column of the other; the other half of the table has the latencies.
std::string table_of(const Examination& found, const std::vector<PairResult>& pairs) {
  std::map<int, size_t> place;
  for (const PairResult& pair : pairs) place.try_emplace(pair.first), place.try_emplace(pair.second);
  std::vector<std::string> names;
  size_t width = 7;
  for (auto& [rank, index] : place) {
    index = names.size();
    names.push_back(found.ranks[static_cast<size_t>(rank)].host);
    width = std::max(width, names.back().size());
  }
  std::vector<std::vector<std::string>> cells(names.size(), std::vector<std::string>(names.size(), "-"));
  for (const PairResult& pair : pairs) {
    const auto [low, high] = std::minmax(place[pair.first], place[pair.second]);
    cells[low][high] = fmt::format("{:.1f}", 1e-6 * pair.bytes_per_second);
    cells[high][low] = fmt::format("{:.1f}", 1e6 * pair.latency_seconds);
  }
  std::string table = "above the diagonal MB/s each way, below it latency in us\n" + std::string(width, ' ');
  for (const std::string& name : names) table += fmt::format("  {:>{}}", name, width);
  for (size_t row = 0; row < names.size(); ++row) {
    table += fmt::format("\n{:<{}}", names[row], width);
    for (const std::string& cell : cells[row]) table += fmt::format("  {:>{}}", cell, width);
  }
  return table;
}

// Pairs of one kind; those that are slow beside the rest.
void judge_pairs(const Examination& found, const std::vector<PairResult>& pairs, const char* kind, const char* advice,
                 Roll& roll) {
  if (pairs.empty()) return;
  std::vector<double> rates, latencies;
  for (const PairResult& pair : pairs) {
    rates.push_back(pair.bytes_per_second);
    latencies.push_back(pair.latency_seconds);
  }
  const double rate = median_of(rates), latency = median_of(latencies);
  for (const PairResult& pair : pairs) {
    const bool is_late = pair.latency_seconds > std::max(4 * latency, 1e-4 + latency);
    if (pair.bytes_per_second >= rate / 2 && !is_late) continue;
    roll.say(Topic::kNetwork, Status::kWarning,
             fmt::format("slow: {}: {}; the median {} is {} and {}", name_pair(found, pair), describe(pair), kind,
                         format_amount(rate, Unit::kBytesPerSecond), format_amount(latency, Unit::kSeconds)),
             advice);
  }
  if (pairs.size() == 1) {
    return roll.say(Topic::kNetwork, Status::kOk, name_pair(found, pairs[0]) + ": " + describe(pairs[0]));
  }
  const auto slowest = std::min_element(pairs.begin(), pairs.end(), [](const PairResult& a, const PairResult& b) {
    return a.bytes_per_second < b.bytes_per_second;
  });
  roll.say(Topic::kNetwork, Status::kOk,
           fmt::format("{} pairs {}: median {} each way, latency {}; slowest {} with {}", pairs.size(), kind,
                       format_amount(rate, Unit::kBytesPerSecond), format_amount(latency, Unit::kSeconds),
                       name_pair(found, *slowest), format_amount(slowest->bytes_per_second, Unit::kBytesPerSecond)));
}

// A host that is slow with everybody: of few hosts it spoils the median of the pairs, but not that of the hosts' bests.
void judge_hosts(const Examination& found, const std::vector<PairResult>& pairs, Roll& roll) {
  std::map<int, double> best;
  for (const PairResult& pair : pairs) {
    for (const int rank : {pair.first, pair.second}) best[rank] = std::max(best[rank], pair.bytes_per_second);
  }
  if (best.size() < 3) return;
  std::vector<double> bests;
  for (const auto& [rank, rate] : best) bests.push_back(rate);
  const double usual = median_of(bests);
  for (const auto& [rank, rate] : best) {
    if (rate >= usual / 2) continue;
    roll.say(Topic::kNetwork, Status::kWarning,
             fmt::format("{} is slow with every host: {} at best, where others reach {}",
                         found.ranks[static_cast<size_t>(rank)].host, format_amount(rate, Unit::kBytesPerSecond),
                         format_amount(usual, Unit::kBytesPerSecond)),
             kSlowLink);
  }
}

}  // namespace

void judge_network(const Examination& found, Roll& roll) {
  for (const std::string& silence : found.silences) {
    roll.say(Topic::kNetwork, Status::kError, silence,
             "see whether that process lives and its host answers (firewall between the hosts? several networks? then "
             "export "
             "OMPI_MCA_btl_tcp_if_include=...); nothing more was measured");
  }
  std::vector<PairResult> between, within;
  for (const PairResult& pair : found.pairs) {
    const auto host = [&](int rank) { return found.ranks[static_cast<size_t>(rank)].host; };
    (host(pair.first) == host(pair.second) ? within : between).push_back(pair);
  }
  judge_pairs(found, between, "between hosts", kSlowLink, roll);
  judge_hosts(found, between, roll);
  const size_t num_hosts = roll.hosts().size();
  if (between.size() > 1 && num_hosts <= kMostInTable) roll.say(Topic::kNetwork, Status::kOk, table_of(found, between));
  judge_pairs(found, within, "within hosts", kSlowHost, roll);
  if (found.ring.bytes_per_second > 0) {
    roll.say(Topic::kNetwork, Status::kOk,
             fmt::format("ring of all {} ranks at once: {} each way for the slowest", found.ranks.size(),
                         format_amount(found.ring.bytes_per_second, Unit::kBytesPerSecond)));
  }
  if (found.ranks.size() == 1 && found.silences.empty()) {
    roll.say(Topic::kNetwork, Status::kOk, "one rank: nothing to measure; cluster/mpirun.sh -np N longspan doctor examines N");
  }
}

}  // namespace longspan::doctor
