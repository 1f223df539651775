// Errors and checks.
//
// `Error` is thrown for misuse and broken invariants; its message holds both offending values. The kind says
// whose fault it was, and the launcher turns it into an exit code; the library itself never exits.
// `check(condition, format, values...)` is the one way to test a precondition.
#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace longspan {

enum class ErrorKind {
  kInternal,       // a broken invariant: a bug in this program
  kConfiguration,  // the configuration or the command line asks for what cannot be
  kData,           // a data file is missing, empty or malformed
  kCheckpoint,     // a checkpoint or an imported model is unusable
  kResource,       // memory, disk or a device is missing
  kCommunication,  // a peer failed or did not answer in time
  kNumerical,      // a loss or a gradient is not finite; a mesh computes something else than one rank
};

// What somebody else wrote, fit for one line of a message: control characters, which could end the line or command the
// terminal, are spelled out, and what is beyond `most` bytes is left out.
std::string shown(std::string_view text, size_t most = 200);

class Error : public std::runtime_error {
 public:
  // Control characters are spelled out, but for the end of a line, and a message that is absurdly long is cut.
  Error(ErrorKind kind, const std::string& message);
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

// A peer died, answered with something else than was agreed, or did not answer before the deadline.
class CommError : public Error {
 public:
  explicit CommError(const std::string& message) : Error(ErrorKind::kCommunication, message) {}
};

template <class... Args>
[[noreturn]] void raise(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(kind, fmt::format(format, std::forward<Args>(args)...));
}

namespace detail {

// A format string that remembers where it was written, for the message of a failed check.
template <class... Args>
struct LocatedFormat {
  template <class S>
  consteval LocatedFormat(const S& s, const char* f = __builtin_FILE(), int l = __builtin_LINE())
      : format(s), file(f), line(l) {}
  fmt::format_string<Args...> format;
  const char* file;
  int line;
};

[[noreturn]] void check_failed(const char* file, int line, const std::string& message);

}  // namespace detail

// Throws Error(kInternal) naming file and line unless `condition` holds.
template <class... Args>
void check(bool condition, detail::LocatedFormat<std::type_identity_t<Args>...> where, Args&&... args) {
  if (!condition) [[unlikely]] {
    detail::check_failed(where.file, where.line, fmt::format(where.format, std::forward<Args>(args)...));
  }
}

}  // namespace longspan
