#include "core/base/error.h"

#include <cstring>

namespace longspan {

namespace {

constexpr size_t kLongestMessage = 30000;

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

std::string spelled_out(std::string_view text, bool keep_lines) {
  std::string result;
  result.reserve(text.size());
  for (const char c : text) {
    if (!is_control(c) || (keep_lines && c == '\n')) {
      result += c;
    } else if (c == '\n') {
      result += "\\n";
    } else {
      result += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  return result;
}

std::string cut(std::string_view text, size_t most) {
  if (text.size() <= most) return std::string(text);
  return fmt::format("{}... ({} bytes in all)", text.substr(0, most), text.size());
}

}  // namespace

std::string shown(std::string_view text, size_t most) { return spelled_out(cut(text, most), false); }

Error::Error(ErrorKind kind, const std::string& message)
    : std::runtime_error(cut(spelled_out(message, true), kLongestMessage)), kind_(kind) {}

namespace detail {

void check_failed(const char* file, int line, const std::string& message) {
  const char* slash = std::strrchr(file, '/');
  throw Error(ErrorKind::kInternal, fmt::format("{}:{}: {}", slash ? slash + 1 : file, line, message));
}

}  // namespace detail
}  // namespace longspan
