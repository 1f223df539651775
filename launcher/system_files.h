// Reading what Linux tells in /proc and /sys, under a root that tests replace. What cannot be read is unknown, never an
// error: nothing here throws for a file that is missing or malformed.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace longspan {

constexpr int64_t kUnknown = -1;
constexpr int64_t kUnlimited = INT64_MAX;

class SystemFiles {
 public:
  explicit SystemFiles(std::string root = "") : root_(std::move(root)) {}

  std::string text(const std::string& path) const;  // whole file; empty if there is none
  std::string line(const std::string& path) const;  // its first line
  int64_t number(const std::string& path) const;    // "max" is kUnlimited; kUnknown
  // In "name : value" lines: the value of the first line with this name; empty if there is none.
  std::string value(const std::string& path, const std::string& name) const;
  std::vector<std::string> names(const std::string& folder) const;  // of its entries, sorted
  // The least limit of the control group that /proc/self/cgroup names for `controller` ("" is version 2) and of all
  // groups around it; kUnknown if none has one.
  using GroupLimit = std::function<int64_t(const std::string& folder)>;
  int64_t least_of_groups(const std::string& controller, const GroupLimit& limit) const;

 private:
  std::string root_;
};

// "0-3,8": 0 1 2 3 8. What is malformed ends the list.
std::vector<int> parse_cpu_list(const std::string& text);
// The other way round.
std::string format_cpu_list(const std::vector<int>& cpus);

}  // namespace longspan
