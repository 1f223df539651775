#include "launcher/doctor/roll.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "launcher/doctor/examine.h"
#include "launcher/system_files.h"
#include "launcher/join.h"

namespace longspan::doctor {
namespace {

constexpr size_t kMostNames = 8;

// A rank that was silent left no facts.
bool has_told(const Facts& facts) {
  return !facts.mpi.launch.empty();
}

struct Scale {
  double factor;
  const char* name;
};

// The largest unit that leaves at least 1.
Scale scale_of(double amount, Unit unit) {
  const double size = std::abs(amount);
  switch (unit) {
    case Unit::kNone: return {1, ""};
    case Unit::kBytes:
      if (size >= 0x1p30) return {0x1p-30, " GiB"};
      return size >= 0x1p20 ? Scale{0x1p-20, " MiB"} : Scale{0x1p-10, " KiB"};
    case Unit::kBytesPerSecond: return size >= 1e9 ? Scale{1e-9, " GB/s"} : Scale{1e-6, " MB/s"};
    case Unit::kGigabytesPerSecond: return {1, " GB/s"};
    case Unit::kGflops: return {1, " GFLOP/s"};
    case Unit::kSeconds:
      if (size >= 1) return {1, " s"};
      return size >= 1e-3 ? Scale{1e3, " ms"} : Scale{1e6, " us"};
  }
  return {1, ""};
}

// Three digits, never an exponent.
std::string digits(double number) {
  const double size = std::abs(number);
  if (size >= 100 || number == std::floor(number)) return fmt::format("{:.0f}", number);
  return size >= 10 ? fmt::format("{:.1f}", number) : fmt::format("{:.2f}", number);
}

}  // namespace

std::string format_amount(double amount, Unit unit) {
  const Scale scale = scale_of(amount, unit);
  return digits(amount * scale.factor) + scale.name;
}

std::string format_range(double least, double most, Unit unit) {
  const Scale scale = scale_of(most, unit);
  const std::string low = digits(least * scale.factor), high = digits(most * scale.factor);
  return (low == high ? high : low + " to " + high) + scale.name;
}

Roll::Roll(const Examination& found, std::vector<Finding>& findings)
    : found_(found), findings_(findings), hosts_(ranks_of_hosts(found.ranks)) {}

void Roll::say(Topic topic, Status status, const std::string& text, const std::string& advice) {
  findings_.push_back({topic, status, text, advice});
}

void Roll::add(Groups& groups, const Remark& remark, const std::vector<int>& ranks) {
  const Key key{remark.status, remark.text, remark.advice, remark.unit};
  auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& other) { return other.first == key; });
  if (group == groups.end()) group = groups.insert(group, {key, {{}, remark.amount, remark.amount}});
  group->second.least = std::min(group->second.least, remark.amount);
  group->second.most = std::max(group->second.most, remark.amount);
  group->second.ranks.insert(group->second.ranks.end(), ranks.begin(), ranks.end());
}

void Roll::of_ranks(Topic topic, const std::function<std::optional<Remark>(const Facts&, int)>& remark) {
  Groups groups;
  for (size_t rank = 0; rank < found_.ranks.size(); ++rank) {
    const int number = static_cast<int>(rank);
    if (!has_told(found_.ranks[rank])) continue;
    if (const auto said = remark(found_.ranks[rank], number)) add(groups, *said, {number});
  }
  close(topic, groups, Who::kRanks);
}

void Roll::of_hosts(Topic topic,
                    const std::function<std::optional<Remark>(const Facts&, const std::vector<int>&)>& remark) {
  Groups groups;
  for (const std::vector<int>& host : hosts_) {
    const Facts& facts = found_.ranks[static_cast<size_t>(host.front())];
    if (!has_told(facts)) continue;
    if (const auto said = remark(facts, host)) add(groups, *said, host);
  }
  close(topic, groups, Who::kHosts);
}

void Roll::close(Topic topic, const Groups& groups, Who of_whom) {
  for (const auto& [key, group] : groups) {
    const auto& [status, text, advice, unit] = key;
    std::string line = text;
    if (const size_t at = line.find("{}"); at != std::string::npos) {
      line.replace(at, 2, format_range(group.least, group.most, unit));
    }
    std::string who = name_ranks(group.ranks);
    if (who.empty() && of_whom == Who::kHosts && hosts_.size() > 1)
      who = fmt::format("each of {} hosts", hosts_.size());
    say(topic, status, who.empty() ? line : who + ": " + line, advice);
  }
}

std::string Roll::name_ranks(const std::vector<int>& ranks) const {
  if (ranks.size() == found_.ranks.size()) return "";
  std::vector<std::string> names;
  for (const std::vector<int>& host : hosts_) {
    std::vector<int> here;
    for (const int rank : host) {
      if (std::find(ranks.begin(), ranks.end(), rank) != ranks.end()) here.push_back(rank);
    }
    const std::string& name = found_.ranks[static_cast<size_t>(host.front())].host;
    if (here.empty()) continue;
    if (here.size() == host.size()) {
      names.push_back(name);
    } else {
      const std::string list = (here.size() == 1 ? "rank " : "ranks ") + format_cpu_list(here);
      names.push_back(hosts_.size() == 1 ? list : list + " on " + name);
    }
  }
  if (names.size() <= kMostNames) return join(names, ", ");
  const size_t more = names.size() - kMostNames;
  names.resize(kMostNames);
  return fmt::format("{} and {} more", join(names, ", "), more);
}

}  // namespace longspan::doctor
