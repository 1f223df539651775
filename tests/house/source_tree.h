// The project's own sources, for tests that hold the house to its rules.
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace longspan::test {

inline std::filesystem::path project_root() { return std::filesystem::path(LS_TEST_DATA).parent_path(); }

inline std::string text_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path.string());
  return {std::istreambuf_iterator<char>(in), {}};
}

inline std::vector<std::string> lines_of(const std::filesystem::path& path) {
  std::istringstream in(text_of(path));
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// Sources below these folders of the project, as paths from its root, sorted.
inline std::vector<std::string> sources_below(const std::vector<std::string>& folders) {
  std::vector<std::string> files;
  for (const std::string& folder : folders) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(project_root() / folder)) {
      const std::string extension = entry.path().extension().string();
      if (extension == ".h" || extension == ".cc" || extension == ".cu" || extension == ".proto") {
        files.push_back(std::filesystem::relative(entry.path(), project_root()).string());
      }
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

// The cells of the Markdown table whose header row begins with `header`, without the header and the rule below it;
// back-quotes and outer blanks are gone.
inline std::vector<std::vector<std::string>> table_in(const std::filesystem::path& page, const std::string& header) {
  std::vector<std::vector<std::string>> rows;
  bool inside = false;
  for (const std::string& line : lines_of(page)) {
    if (!inside) {
      inside = line.starts_with("| " + header + " |");
      continue;
    }
    if (!line.starts_with("|")) break;
    if (line.starts_with("|--")) continue;
    std::vector<std::string> cells;
    std::istringstream in(line.substr(1));
    for (std::string cell; std::getline(in, cell, '|');) {
      std::erase(cell, '`');
      const size_t first = cell.find_first_not_of(' ');
      cells.push_back(first == std::string::npos ? "" : cell.substr(first, cell.find_last_not_of(' ') - first + 1));
    }
    rows.push_back(cells);
  }
  return rows;
}

}  // namespace longspan::test
