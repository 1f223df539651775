#include "train/formats/json_lines.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>

#include "train/formats/atomic_file.h"
#include "train/formats/mapped_file.h"

namespace longspan {

namespace {

constexpr ErrorKind kKind = ErrorKind::kResource;

std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string number(double value) {
  if (!std::isfinite(value)) return "null";
  std::string text = fmt::format("{}", value);  // the shortest that reads back to the same bits
  // Without a point, readers would make it an integer, and -0 would lose its sign.
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string value_text(const JsonValue& value) {
  if (const auto* integer = std::get_if<int64_t>(&value)) return std::to_string(*integer);
  if (const auto* real = std::get_if<double>(&value)) return number(*real);
  return quoted(std::get<std::string>(value));
}

bool exists(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0;
}

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.size_bytes()};
}

size_t whole_lines_bytes(const std::string& path) {
  const MappedFile file(path, kKind);
  const size_t end = text_of(file).rfind('\n');
  return end == std::string_view::npos ? 0 : end + 1;
}

bool belongs_to(std::string_view line, int64_t last_step) {
  const auto object = nlohmann::json::parse(line, nullptr, false);
  if (!object.is_object()) return false;
  const auto step = object.find("step");
  return step == object.end() || !step->is_number() || step->get<double>() <= static_cast<double>(last_step);
}

}  // namespace

std::string to_json(const std::vector<JsonField>& fields) {
  std::string text = "{";
  for (const JsonField& field : fields) {
    if (text.size() > 1) text += ", ";
    text += quoted(field.name) + ": " + value_text(field.value);
  }
  return text + "}";
}

JsonLinesWriter::JsonLinesWriter(const std::string& path) : path_(path) {
  descriptor_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor_ < 0) raise(kKind, "cannot open {}: {}", path_, std::strerror(errno));
  try {
    const size_t whole = whole_lines_bytes(path_);
    if (::ftruncate(descriptor_, static_cast<off_t>(whole)) != 0) {
      raise(kKind, "cannot shorten {}: {}", path_, std::strerror(errno));
    }
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

JsonLinesWriter::~JsonLinesWriter() {
  ::close(descriptor_);
}

void JsonLinesWriter::append(const std::vector<JsonField>& fields) {
  const std::string line = to_json(fields) + "\n";
  write_all(descriptor_, std::as_bytes(std::span(line)), path_, kKind);
}

void truncate_after_step(const std::string& path, int64_t step) {
  if (!exists(path)) return;
  const MappedFile file(path, kKind);
  std::string_view rest = text_of(file);
  std::string kept;
  kept.reserve(rest.size());
  for (size_t end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
    if (belongs_to(rest.substr(0, end), step)) kept += rest.substr(0, end + 1);
    rest.remove_prefix(end + 1);
  }
  if (kept.size() != file.size_bytes()) write_file_atomically(path, kept, kKind);
}

void write_json_file(const std::string& path, const std::vector<JsonField>& fields) {
  write_file_atomically(path, to_json(fields) + "\n", kKind);
}

}  // namespace longspan
