// Where each value of a configuration came from, so that every complaint can say so; and the complaints themselves,
// collected so that one run shows them all.
#pragma once

#include <fmt/format.h>

#include <map>
#include <string>
#include <vector>

namespace longspan {

class ConfigOrigins {
 public:
  // `path` as --set spells it ("model.rope.theta"); forgets what was known of the fields below it.
  void set(const std::string& path, const std::string& origin);
  // "run.textproto:7:3" or "--set model.rope.theta=3" of the field or, where that is not known, of the nearest message
  // around it; empty where nobody set it.
  std::string of(const std::string& path) const;

 private:
  std::map<std::string, std::string> origins_;
};

class ConfigProblems {
 public:
  explicit ConfigProblems(const ConfigOrigins& origins) : origins_(origins) {}
  template <class... Args>
  void add(const std::string& path, fmt::format_string<Args...> format, Args&&... args) {
    const std::string origin = origins_.of(path);
    messages_.push_back(fmt::format("{}{}{}: {}", origin, origin.empty() ? "" : ": ", path,
                                    fmt::format(format, std::forward<Args>(args)...)));
  }
  bool empty() const { return messages_.empty(); }
  std::string text(const char* separator) const;
  // Throws Error(kConfiguration) with all of them, one a line, if there are any.
  void raise_if_any() const;

 private:
  const ConfigOrigins& origins_;
  std::vector<std::string> messages_;
};

}  // namespace longspan
