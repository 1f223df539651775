#include "launcher/system_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "launcher/join.h"

namespace longspan {
namespace {

constexpr int kMostCpus = 1 << 16;

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\n"), end = text.find_last_not_of(" \t\n");
  return begin == std::string::npos ? "" : text.substr(begin, end - begin + 1);
}

// The controllers of a line of /proc/self/cgroup, "4:cpu,cpuacct:/job": whether `wanted` is one of them. Version 2 has
// the empty name.
bool names_controller(const std::string& controllers, const std::string& wanted) {
  std::istringstream words(controllers);
  if (wanted.empty()) return controllers.empty();
  for (std::string word; std::getline(words, word, ',');) {
    if (word == wanted) return true;
  }
  return false;
}

}  // namespace

std::string SystemFiles::text(const std::string& path) const {
  std::ifstream file(root_ + path);
  std::ostringstream all;
  if (file) all << file.rdbuf();
  return all.str();
}

std::string SystemFiles::line(const std::string& path) const {
  std::ifstream file(root_ + path);
  std::string line;
  std::getline(file, line);
  return trimmed(line);
}

int64_t SystemFiles::number(const std::string& path) const {
  const std::string word = line(path);
  if (word == "max") return kUnlimited;
  int64_t number = kUnknown;
  // Version 1 writes "no limit" as a number near 2^63; one past it fails to parse and means the same.
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  if (error == std::errc::result_out_of_range) return kUnlimited;
  return error == std::errc() ? number : kUnknown;
}

std::string SystemFiles::value(const std::string& path, const std::string& name) const {
  std::ifstream file(root_ + path);
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(':');
    if (colon != std::string::npos && trimmed(line.substr(0, colon)) == name) return trimmed(line.substr(colon + 1));
  }
  return "";
}

std::vector<std::string> SystemFiles::names(const std::string& folder) const {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(root_ + folder, error), end; !error && entry != end;
       entry.increment(error)) {
    names.push_back(entry->path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

int64_t SystemFiles::least_of_groups(const std::string& controller, const GroupLimit& limit) const {
  std::istringstream groups(text("/proc/self/cgroup"));
  int64_t least = kUnknown;
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos || !names_controller(line.substr(first + 1, second - first - 1), controller))
      continue;
    const std::string mount = controller.empty() ? "/sys/fs/cgroup" : "/sys/fs/cgroup/" + controller;
    // A container may show its own group as the root while /proc still names the path outside; so the root counts, too.
    for (std::string group = line.substr(second + 1);; group.resize(group.rfind('/'))) {
      const int64_t here = limit(mount + group);
      if (here >= 0) least = least < 0 ? here : std::min(least, here);
      if (group.rfind('/') == std::string::npos) break;
    }
  }
  return least;
}

std::vector<int> parse_cpu_list(const std::string& text) {
  std::vector<int> cpus;
  std::istringstream list(text);
  for (int first = 0; list >> first;) {
    int last = first;
    if (list.peek() == '-' && !(list.ignore() >> last)) break;
    if (first < 0 || last >= kMostCpus) break;
    for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
    if (list.get() != ',') break;
  }
  return cpus;
}

std::string format_cpu_list(const std::vector<int>& cpus) {
  std::vector<std::string> ranges;
  for (size_t i = 0; i < cpus.size();) {
    size_t last = i;
    while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1) ++last;
    ranges.push_back(last == i ? fmt::format("{}", cpus[i]) : fmt::format("{}-{}", cpus[i], cpus[last]));
    i = last + 1;
  }
  return join(ranges, ",");
}

}  // namespace longspan
