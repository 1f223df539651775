// A fresh folder that goes with its owner, named after the running test.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include <fmt/core.h>

namespace longspan::test {

class Folder {
 public:
  Folder() {
    static int count = 0;
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    std::string test = fmt::format("longspan_{}.{}_{}_{}", info->test_suite_name(), info->name(), getpid(), count++);
    for (char& c : test) c = c == '/' ? '_' : c;
    path_ = std::filesystem::temp_directory_path() / test;
    std::filesystem::create_directories(path_);
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string path() const { return path_.string(); }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::string write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path_ / name, std::ios::binary) << bytes;
    return (path_ / name).string();
  }

 private:
  std::filesystem::path path_;
};

inline std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace longspan::test
