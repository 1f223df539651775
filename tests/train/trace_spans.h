// The spans of a trace file, as a test reads them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <tuple>
#include <vector>

namespace longspan::test {

using nlohmann::json;

struct Span {
  int rank = 0, row = 0;
  std::string row_name, name, category;
  double begin = 0, end = 0;
  json args;
  int64_t arg(const char* key) const { return args.value(key, int64_t{-1}); }
};

inline std::vector<Span> spans_of(const json& trace) {
  std::map<std::pair<int, int>, std::string> rows;
  for (const json& event : trace.at("traceEvents")) {
    if (event.at("name") != "thread_name") continue;
    rows[{event.at("pid").get<int>(), event.at("tid").get<int>()}] = event.at("args").at("name");
  }
  std::vector<Span> spans;
  for (const json& event : trace.at("traceEvents")) {
    if (event.at("ph") != "X") continue;
    const double begin = event.at("ts").get<double>();
    const int rank = event.at("pid").get<int>(), row = event.at("tid").get<int>();
    spans.push_back({.rank = rank,
                     .row = row,
                     .row_name = rows.at({rank, row}),
                     .name = event.at("name").get<std::string>(),
                     .category = event.at("cat").get<std::string>(),
                     .begin = begin,
                     .end = begin + event.at("dur").get<double>(),
                     .args = event.at("args")});
  }
  return spans;
}

// Spans of a row may lie in each other, but never cross.
inline void expect_nested(std::vector<Span> spans) {
  constexpr double kRounding = 0.002;  // microseconds
  std::sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) {
    return std::tuple(a.rank, a.row, a.begin, -a.end) < std::tuple(b.rank, b.row, b.begin, -b.end);
  });
  std::vector<Span> around;
  for (const Span& span : spans) {
    while (!around.empty() && (around.back().rank != span.rank || around.back().row != span.row ||
                               around.back().end <= span.begin + kRounding)) {
      around.pop_back();
    }
    if (!around.empty()) {
      EXPECT_LE(span.end, around.back().end + kRounding) << span.name << " in " << around.back().name;
    }
    around.push_back(span);
  }
}

}  // namespace longspan::test
