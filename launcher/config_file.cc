#include "launcher/config_file.h"

#include <fcntl.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/base/error.h"
#include "launcher/config_override.h"
#include "launcher/config_schema.h"
#include "launcher/join.h"
#include "launcher/text_outline.h"

namespace longspan {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::TextFormat;

constexpr size_t kMostComplaints = 20;  // a file of something else holds hundreds of thousands

std::string at(const std::string& name, TextPlace place) {
  return fmt::format("{}:{}:{}", name, place.line + 1, place.column + 1);
}

// Rewrites protobuf's complaints in the words of the configuration: paths and nearest matches.
class Complaints final : public google::protobuf::io::ErrorCollector {
 public:
  Complaints(const std::string& name, const TextOutline& outline) : name_(name), outline_(outline) {}

  void AddError(int line, google::protobuf::io::ColumnNumber column, const std::string& message) override {
    // The tokenizer complains of a character, then the parser of the token that it spoilt.
    if (line == last_error_line_) return;
    last_error_line_ = line;
    add(line, column, message);
  }
  // Unknown fields arrive as warnings, since only then does the parser go on to find the next.
  void AddWarning(int line, google::protobuf::io::ColumnNumber column, const std::string& message) override {
    add(line, column, message);
  }
  std::vector<std::string> messages() const {
    std::vector<std::string> all = messages_;
    if (num_more_ > 0) all.push_back(fmt::format("{}: and {} more problems like these", name_, num_more_));
    return all;
  }

 private:
  void add(int line, int column, const std::string& message) {
    if (messages_.size() == kMostComplaints) {
      ++num_more_;
      return;
    }
    const TextPlace noticed{std::max(line, 0), std::max(column, 0)};
    const TextPlace place = outline_.word_before(subject_of_parser_message(message), noticed);
    const std::vector<std::string> around = outline_.messages_around(place);
    messages_.push_back(at(name_, place) + ": " + field_of_value(message, around, noticed) +
                        shown(explain_parser_message(message, around), 600));
  }

  // "data.format: ", where the message does not say it.
  std::string field_of_value(const std::string& message, const std::vector<std::string>& around, TextPlace place) const {
    using Kind = TextOutline::WordKind;
    const bool value = is_about_value(message);
    if (!value && !is_about_message(message)) return {};
    const std::string word = outline_.last_word_before(place, value ? Kind::kBeforeColon : Kind::kAny);
    const auto* parent = message_at(around);
    if (parent == nullptr || parent->FindFieldByName(word) == nullptr) return {};
    return (around.empty() ? "" : join(around, ".") + ".") + word + ": ";
  }

  const std::string& name_;
  const TextOutline& outline_;
  std::vector<std::string> messages_;
  int64_t num_more_ = 0;
  int last_error_line_ = -2;  // -1 is what the parser says where it knows none
};

void record_origins(const Message& message, TextFormat::ParseInfoTree& tree, const std::string& prefix,
                    const std::string& name, ConfigOrigins& origins) {
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const bool repeated = field->is_repeated();
    const int count = repeated ? message.GetReflection()->FieldSize(message, field) : 1;
    const std::string path = prefix + field->name();
    for (int i = 0; i < count; ++i) {
      const auto place = tree.GetLocation(field, repeated ? i : -1);
      const std::string element = repeated ? fmt::format("{}[{}]", path, i) : path;
      if (place.line < 0) continue;  // a later element of a [list] has no place of its own
      const std::string origin = at(name, {place.line, place.column});
      if (i == 0) origins.set(path, origin);
      if (repeated) origins.set(element, origin);
      auto* nested = tree.GetTreeForNested(field, repeated ? i : -1);
      if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || nested == nullptr) continue;
      const Message& child = repeated ? message.GetReflection()->GetRepeatedMessage(message, field, i)
                                      : message.GetReflection()->GetMessage(message, field);
      record_origins(child, *nested, element + ".", name, origins);
    }
  }
}

std::string read_text(const std::string& path) {
  // O_NONBLOCK: opening a pipe must not wait for its writer. Reading may: a shell's <(...) is a pipe with one.
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) raise(ErrorKind::kConfiguration, "cannot read the configuration {}: {}", path, strerror(errno));
  fcntl(file, F_SETFL, 0);
  std::string text;
  char buffer[65536];
  ssize_t count = 0;
  while (text.size() <= kMaxConfigBytes && (count = read(file, buffer, sizeof buffer)) > 0) {
    text.append(buffer, static_cast<size_t>(count));
  }
  const int error = errno;
  struct stat status {};
  const bool is_pipe = fstat(file, &status) == 0 && S_ISFIFO(status.st_mode);
  close(file);
  if (count < 0) raise(ErrorKind::kConfiguration, "cannot read the configuration {}: {}", path, strerror(error));
  if (is_pipe && text.empty()) {
    raise(ErrorKind::kConfiguration, "cannot read the configuration {}: a pipe without a writer", path);
  }
  return text;
}

}  // namespace

LoadedConfig parse_config(std::string_view text, const std::string& name,
                          const std::vector<std::string>& overrides) {
  if (text.size() > kMaxConfigBytes) {
    raise(ErrorKind::kConfiguration, "{}: more than {} bytes: not a configuration", name, kMaxConfigBytes);
  }
  if (text.find('\0') != std::string_view::npos) {
    raise(ErrorKind::kConfiguration, "{}: holds binary data: not a configuration in text format", name);
  }
  const TextOutline outline(text);
  if (outline.depth() > kMaxConfigDepth) {
    raise(ErrorKind::kConfiguration, "{}: messages and lists nest {} deep; at most {} are allowed",
          at(name, outline.deepest()), outline.depth(), kMaxConfigDepth);
  }
  LoadedConfig loaded;
  Complaints complaints(name, outline);
  TextFormat::ParseInfoTree tree;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&complaints);
  parser.WriteLocationsTo(&tree);
  parser.SetRecursionLimit(kMaxConfigDepth);
  parser.AllowUnknownField(true);
  const bool parsed = parser.ParseFromString(std::string(text), &loaded.config);
  std::vector<std::string> problems = complaints.messages();
  if (!parsed && problems.empty()) problems.push_back(name + ": not a configuration in text format");
  record_origins(loaded.config, tree, "", name, loaded.origins);
  for (const std::string& override_text : overrides) {
    try {
      apply_override(override_text, loaded.config, loaded.origins);
    } catch (const Error& error) {
      problems.push_back(error.what());
    }
  }
  if (!problems.empty()) raise(ErrorKind::kConfiguration, "{}", join(problems, "\n"));
  return loaded;
}

LoadedConfig load_config(const std::string& path, const std::vector<std::string>& overrides) {
  std::string text = read_text(path);
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";  // some editors begin every file with it
  if (text.starts_with(kByteOrderMark)) text.erase(0, kByteOrderMark.size());
  return parse_config(text, path, overrides);
}

std::string print_config(const config::RunConfig& config) {
  std::string text;
  TextFormat::Printer printer;
  printer.SetUseShortRepeatedPrimitives(true);
  printer.PrintToString(config, &text);
  return text;
}

}  // namespace longspan
