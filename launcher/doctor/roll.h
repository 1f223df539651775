// A roll of who says what: ranks, or hosts, that say the same share a line.
//
// A remark's text may have "{}" for its amount; remarks that differ in the amount alone are one finding with the range
// from the least to the most. Who is meant is said unless it is everybody.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "launcher/doctor/facts.h"
#include "launcher/doctor/finding.h"

namespace longspan::doctor {

enum class Unit { kNone, kBytes, kBytesPerSecond, kGigabytesPerSecond, kGflops, kSeconds };

struct Remark {
  Status status = Status::kOk;
  std::string text, advice;
  double amount = 0;
  Unit unit = Unit::kNone;
};

std::string format_amount(double amount, Unit unit);
// "12.0 to 15.5 GiB" or "12.0 GiB"
std::string format_range(double least, double most, Unit unit);

class Roll {
 public:
  Roll(const Examination& found, std::vector<Finding>& findings);
  const std::vector<std::vector<int>>& hosts() const { return hosts_; }

  // remark(facts, rank) for every rank, or for the first rank of every host with all ranks of that host.
  void of_ranks(Topic topic, const std::function<std::optional<Remark>(const Facts&, int rank)>& remark);
  void of_hosts(Topic topic,
                const std::function<std::optional<Remark>(const Facts&, const std::vector<int>& ranks)>& remark);
  void say(Topic topic, Status status, const std::string& text, const std::string& advice = "");

  // "ranks 0-3 on node1", "node1 to node4"; empty for everybody.
  std::string name_ranks(const std::vector<int>& ranks) const;

 private:
  struct Group {
    std::vector<int> ranks;
    double least = 0, most = 0;
  };
  using Key = std::tuple<Status, std::string, std::string, Unit>;
  using Groups = std::vector<std::pair<Key, Group>>;
  static void add(Groups& groups, const Remark& remark, const std::vector<int>& ranks);
  enum class Who { kRanks, kHosts };
  void close(Topic topic, const Groups& groups, Who who);

  const Examination& found_;
  std::vector<Finding>& findings_;
  std::vector<std::vector<int>> hosts_;
};

}  // namespace longspan::doctor
