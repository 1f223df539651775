// Rules of the house that a regular expression can see.
#include <gtest/gtest.h>

#include <regex>

#include "tests/house/source_tree.h"

namespace longspan::test {
namespace {

const std::vector<std::string> kLibrary = {"core", "parallel", "attention", "model", "train"};
const std::vector<std::string> kProduct = {"core", "parallel", "attention", "model", "train", "launcher", "configs"};
constexpr size_t kMaxLines = 500, kMaxColumns = 130;

std::string without_comment(const std::string& line) { return line.substr(0, line.find("//")); }

const std::regex& forbidden_in_the_library() {
  static const std::regex pattern(
      R"(\b(getenv|secure_getenv|setenv|quick_exit|_exit|printf|fprintf|puts|fputs)\s*\()"
      R"(|std::(exit|abort|cout|cerr|clog)\b|(^|[\s;(])(::)?exit\s*\(|\benviron\b)");
  return pattern;
}

TEST(Style, OnlyTheLauncherExitsPrintsOrReadsTheEnvironment) {
  for (const std::string& file : sources_below(kLibrary)) {
    for (const std::string& line : lines_of(project_root() / file)) {
      EXPECT_FALSE(std::regex_search(without_comment(line), forbidden_in_the_library())) << file << ": " << line;
    }
  }
  EXPECT_TRUE(std::regex_search("if (getenv(\"HOME\")) return;", forbidden_in_the_library()));
  EXPECT_TRUE(std::regex_search("std::cout << 1;", forbidden_in_the_library()));
  EXPECT_TRUE(std::regex_search("  exit(1);", forbidden_in_the_library()));
  EXPECT_TRUE(std::regex_search("if (bad) ::exit(1);", forbidden_in_the_library()));
  EXPECT_FALSE(std::regex_search("  session.abort(code);", forbidden_in_the_library()));
  EXPECT_FALSE(std::regex_search("fmt::format_to(printer, x);", forbidden_in_the_library()));
}

TEST(Style, FilesAreShort) {
  for (const std::string& file : sources_below(kProduct)) {
    EXPECT_LE(lines_of(project_root() / file).size(), kMaxLines) << file;
  }
  EXPECT_LT(lines_of(project_root() / "train/trainer.cc").size(), 200u) << "one step is to be read at a glance";
}

TEST(Style, LinesAreShort) {
  std::vector<std::string> folders = kProduct;
  folders.push_back("tests");
  for (const std::string& file : sources_below(folders)) {
    int number = 0;
    for (const std::string& line : lines_of(project_root() / file)) {
      EXPECT_LE((++number, line.size()), kMaxColumns) << file << ":" << number;
    }
  }
}

TEST(Style, HeadersGuardThemselvesAndSayWhatTheyAre) {
  for (const std::string& file : sources_below(kProduct)) {
    if (!file.ends_with(".h")) continue;
    const std::vector<std::string> lines = lines_of(project_root() / file);
    ASSERT_FALSE(lines.empty()) << file;
    EXPECT_TRUE(lines.front().starts_with("//")) << file << " does not open with what it is";
    EXPECT_NE(std::find(lines.begin(), lines.end(), "#pragma once"), lines.end()) << file;
  }
}

TEST(Style, NothingIsLeftForLater) {
  const std::regex later(R"(\b(TODO|FIXME|XXX|HACK)\b)");
  for (const std::string& file : sources_below(kProduct)) {
    EXPECT_FALSE(std::regex_search(text_of(project_root() / file), later)) << file;
  }
}

}  // namespace
}  // namespace longspan::test
