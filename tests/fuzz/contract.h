// What every fuzz target holds its parser to: any input either parses or raises an Error of a documented kind, whose message
// can be shown. Everything else is a finding: another exception, a crash, a sanitizer's report, and what tests/fuzz/run
// watches besides, an allocation of more than 100 MB or an input that takes seconds.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <string_view>

#include "core/base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace longspan::fuzz {

constexpr size_t kLongestMessage = 32768;

inline std::string_view text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

[[noreturn]] inline void finding(const std::string& what) {
  std::cerr << "finding: " << what << std::endl;
  std::abort();
}

// `lines`: how many a message may have.
enum class Lines { kOne, kMany };

// Whether `body` came to its end.
template <class Body>
bool holds(ErrorKind kind, Lines lines, const Body& body) {
  try {
    body();
    return true;
  } catch (const Error& error) {
    const std::string_view message = error.what();
    if (error.kind() != kind) finding("an error of the wrong kind: " + std::string(message));
    const bool control = std::any_of(message.begin(), message.end(), [&](char c) {
      return static_cast<unsigned char>(c) < ' ' && !(c == '\n' && lines == Lines::kMany);
    });
    if (message.empty() || message.size() > kLongestMessage || control) {
      finding("a message that cannot be shown: " + std::string(message.substr(0, kLongestMessage)));
    }
  } catch (const std::exception& exception) {
    finding(std::string("another exception: ") + exception.what());
  }
  return false;
}

// A folder of this process, for parsers that read files.
class Folder {
 public:
  Folder() : path_(std::filesystem::temp_directory_path() / ("longspan_fuzz_" + std::to_string(getpid()))) {
    std::filesystem::create_directories(path_);
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::string write(const std::string& name, std::string_view bytes) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << bytes;
    return *this / name;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace longspan::fuzz
