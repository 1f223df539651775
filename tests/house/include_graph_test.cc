// The rooms of docs/architecture.md: its table says which room may include which and whose headers of libraries it may use;
// every #include of the product is held to it.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <regex>
#include <set>

#include "tests/house/source_tree.h"

namespace longspan::test {
namespace {

using Names = std::set<std::string>;

struct Room {
  Names may_include;  // itself and what its row names, and what those may include
  Names libraries;
};
using House = std::map<std::string, Room>;

Names split(const std::string& list) {
  Names names;
  std::istringstream in(list);
  for (std::string name; std::getline(in >> std::ws, name, ',');) names.insert(name);
  return names;
}

House read_house() {
  House house;
  for (const auto& row : table_in(project_root() / "docs/architecture.md", "room")) {
    Room& room = house[row.at(0)];
    room.libraries = split(row.at(2));
    room.may_include = {row.at(0)};
    for (const std::string& named : split(row.at(1))) {
      // Rows stand in the order of the graph, so that what a named room may include is known.
      if (!house.contains(named) || named == row.at(0)) throw std::runtime_error(named + " is named before its own row");
      room.may_include.merge(Names(house[named].may_include));
    }
  }
  return house;
}

// The innermost room a file is in; empty if none.
std::string room_of(const House& house, std::string path) {
  while (!path.empty() && !house.contains(path)) {
    const size_t slash = path.rfind('/');
    path = slash == std::string::npos ? "" : path.substr(0, slash);
  }
  return path;
}

std::string library_of(const std::string& header) {
  static const std::vector<std::pair<std::string, std::string>> kLibraries = {
      {"fmt/", "fmt"},         {"glog/", "glog"},     {"google/protobuf/", "protobuf"}, {"nlohmann/", "JSON"},
      {"oneapi/", "oneDNN"},   {"omp.h", "OpenMP"},   {"mpi.h", "MPI"},                 {"CLI/", "CLI11"},
      {"isa-l/", "ISA-L"},     {"hwloc.h", "hwloc"},  {"nccl.h", "NCCL"},               {"cuda", "CUDA"},
      {"cublas", "CUDA"}};
  for (const auto& [prefix, library] : kLibraries) {
    if (header.starts_with(prefix)) return library;
  }
  return "";
}

// What is wrong with the includes of one file, a line each.
std::vector<std::string> faults(const House& house, const std::string& file, const std::vector<std::string>& lines) {
  static const std::regex kInclude(R"(^\s*#\s*include\s*([<"])([^>"]+)[>"])");
  const std::string room = room_of(house, file);
  if (room.empty()) return {file + " is in no room of docs/architecture.md"};
  std::vector<std::string> found;
  for (const std::string& line : lines) {
    std::smatch match;
    if (!std::regex_search(line, match, kInclude)) continue;
    const std::string header = match[2];
    if (match[1] == "<") {
      const std::string library = library_of(header), other = room_of(house, header);
      if (!other.empty()) {
        found.push_back(fmt::format("{} ({}) includes {} as if it were a library's", file, room, header));
      } else if (!library.empty() && library != "fmt" && !house.at(room).libraries.contains(library)) {
        found.push_back(fmt::format("{} ({}) uses {} of {}", file, room, header, library));
      }
    } else if (const std::string other = room_of(house, header); !house.at(room).may_include.contains(other)) {
      found.push_back(fmt::format("{} ({}) includes {} ({})", file, room, header, other.empty() ? "no room" : other));
    }
  }
  return found;
}

std::vector<std::string> product_folders(const House& house) {
  Names tops;
  for (const auto& [room, facts] : house) tops.insert(room.substr(0, room.find('/')));
  return {tops.begin(), tops.end()};
}

TEST(IncludeGraph, IsThatOfTheArchitecturePage) {
  const House house = read_house();
  ASSERT_GE(house.size(), 16u);
  size_t num_files = 0;
  for (const std::string& file : sources_below(product_folders(house))) {
    ++num_files;
    for (const std::string& fault : faults(house, file, lines_of(project_root() / file))) ADD_FAILURE() << fault;
  }
  EXPECT_GT(num_files, 150u);
}

TEST(IncludeGraph, EveryRoomOfThePageHasSources) {
  for (const auto& [room, facts] : read_house()) EXPECT_FALSE(sources_below({room}).empty()) << room;
}

TEST(IncludeGraph, SeesWhatIsForbidden) {
  const House house = read_house();
  const auto refused = [&](const std::string& file, const std::string& line) {
    return faults(house, file, {line}).size() == 1;
  };
  EXPECT_TRUE(refused("attention/kernels/a.h", "#include \"parallel/comm/communicator.h\""));
  EXPECT_TRUE(refused("attention/a.cc", "#  include \"core/nn/linear.h\""));
  EXPECT_TRUE(refused("core/base/a.h", "#include \"core/tensor/tensor.h\""));
  EXPECT_TRUE(refused("train/formats/a.cc", "#include \"train/trainer.h\""));
  EXPECT_TRUE(refused("model/a.cc", "#include <mpi.h>"));
  EXPECT_TRUE(refused("core/base/a.cc", "#include <train/trainer.h>"));
  EXPECT_TRUE(refused("core/runtime/a.cc", "#include \"tests/support/folder.h\""));
  EXPECT_TRUE(refused("cellar/a.cc", ""));
  EXPECT_FALSE(refused("model/a.cc", "#include \"core/base/error.h\""));
  EXPECT_FALSE(refused("core/kernels/cpu/a.cc", "#include <oneapi/dnnl/dnnl.hpp>"));
}

}  // namespace
}  // namespace longspan::test
