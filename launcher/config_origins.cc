#include "launcher/config_origins.h"

#include "core/base/error.h"
#include "launcher/join.h"

namespace longspan {

void ConfigOrigins::set(const std::string& path, const std::string& origin) {
  const std::string below = path + ".";
  for (auto it = origins_.lower_bound(below); it != origins_.end() && it->first.starts_with(below);) {
    it = origins_.erase(it);
  }
  origins_[path] = origin;
}

std::string ConfigOrigins::of(const std::string& path) const {
  for (std::string at = path; !at.empty();) {
    if (const auto it = origins_.find(at); it != origins_.end()) return it->second;
    const size_t cut = at.find_last_of(".[");
    at.resize(cut == std::string::npos ? 0 : cut);
  }
  return "";
}

std::string ConfigProblems::text(const char* separator) const { return join(messages_, separator); }

void ConfigProblems::raise_if_any() const {
  if (!empty()) raise(ErrorKind::kConfiguration, "{}", text("\n"));
}

}  // namespace longspan
