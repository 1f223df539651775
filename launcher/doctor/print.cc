#include "launcher/doctor/print.h"

#include <fmt/format.h>

#include <algorithm>

namespace longspan::doctor {
namespace {

constexpr const char* kTopics[kNumTopics] = {"machine", "MPI",    "binding", "memory and limits",
                                             "storage", "clocks", "network", "environment"};

const char* name(Status status) {
  switch (status) {
    case Status::kOk: return "ok";
    case Status::kNote: return "note";
    case Status::kWarning: return "warning";
    case Status::kError: return "error";
  }
  return "?";
}

// Further lines of a text lie under its first.
std::string indented(const std::string& text) {
  std::string result;
  for (const char c : text) result += c == '\n' ? std::string("\n           ") : std::string(1, c);
  return result;
}

std::string counted(const std::vector<Finding>& findings, Status status, const char* word) {
  const auto count =
      std::count_if(findings.begin(), findings.end(), [&](const Finding& f) { return f.status == status; });
  return fmt::format("{} {}{}", count, word, count == 1 ? "" : "s");
}

}  // namespace

std::string format_report(const std::vector<Finding>& findings) {
  std::string text;
  for (int topic = 0; topic < kNumTopics; ++topic) {
    bool is_first = true;
    for (const Finding& finding : findings) {
      if (static_cast<int>(finding.topic) != topic) continue;
      if (is_first) text += fmt::format("{}\n", kTopics[topic]);
      is_first = false;
      text += fmt::format("  {:<8} {}\n", name(finding.status), indented(finding.text));
      if (!finding.advice.empty()) text += fmt::format("  {:<8} -> {}\n", "", finding.advice);
    }
  }
  return text + fmt::format("{}, {}, {}\n", counted(findings, Status::kError, "error"),
                            counted(findings, Status::kWarning, "warning"), counted(findings, Status::kNote, "note"));
}

}  // namespace longspan::doctor
