#include "launcher/config_override.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <memory>

#include "core/base/error.h"
#include "launcher/config_file.h"
#include "launcher/config_schema.h"
#include "launcher/join.h"
#include "launcher/text_outline.h"

namespace longspan {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::TextFormat;

enum class Mode { kReplace, kAppend };

struct Override {
  std::vector<std::string> path;
  Mode mode = Mode::kReplace;
  std::string value;
};

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\n");
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\n") - begin + 1);
}

Override split(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos) {
    raise(ErrorKind::kConfiguration, "--set {}: expected path=value, such as training.steps=100", shown(text));
  }
  Override result;
  std::string path = trimmed(text.substr(0, equals));
  result.value = text.substr(equals + 1);
  if (path.ends_with('+')) {
    path.pop_back();
    result.mode = Mode::kAppend;
  }
  std::string word;
  for (const char c : path + ".") {
    if (c != '.') {
      word += c;
    } else {
      result.path.push_back(std::exchange(word, ""));
    }
  }
  return result;
}

class Listener final : public google::protobuf::io::ErrorCollector {
 public:
  Listener(std::vector<std::string> above, const TextOutline& outline)
      : above_(std::move(above)), outline_(outline) {}
  void AddError(int line, google::protobuf::io::ColumnNumber column, const std::string& message) override {
    if (!first_.empty()) return;
    std::vector<std::string> path = above_;
    const TextPlace place = outline_.word_before(subject_of_parser_message(message), {line, column});
    for (const std::string& name : outline_.messages_around(place)) path.push_back(name);
    first_ = explain_parser_message(message, path);
  }
  const std::string& first() const { return first_; }

 private:
  std::vector<std::string> above_;
  const TextOutline& outline_;
  std::string first_;
};

bool is_text(const FieldDescriptor& field) { return field.cpp_type() == FieldDescriptor::CPPTYPE_STRING; }
bool is_message(const FieldDescriptor& field) { return field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE; }

bool begins_list(const std::string& value) {
  if (!value.starts_with('[')) return false;
  const size_t next = value.find_first_not_of(" \t\n", 1);  // [a-z]*.txt is a glob, ["a", "b"] a list
  return next != std::string::npos && (value[next] == '"' || value[next] == '\'' || value[next] == ']');
}

// The value as the text format spells it.
std::string spelled(const FieldDescriptor& field, const std::string& value) {
  const std::string text = trimmed(value);
  if (is_message(field)) {
    if (text.starts_with('[') && field.is_repeated()) return field.name() + ": " + text;
    return field.name() + (text.starts_with('{') ? " " + text : " { " + text + " }");
  }
  const bool bare = !text.starts_with('"') && !text.starts_with('\'') && !(field.is_repeated() && begins_list(text));
  if (is_text(field) && bare) {
    std::string escaped;
    for (const char c : value) escaped += fmt::format("\\{:03o}", static_cast<unsigned char>(c));
    return fmt::format("{}: \"{}\"", field.name(), escaped);
  }
  return field.name() + ": " + text;
}

// Parses into a message that holds nothing else, so that a value cannot smuggle in a second field.
std::unique_ptr<Message> parse_value(const Message& parent, const FieldDescriptor& field, const Override& what) {
  const std::string text = spelled(field, what.value);
  const TextOutline outline(text);
  if (text.size() > kMaxConfigBytes) {
    raise(ErrorKind::kConfiguration, "the value has {} bytes; at most {} are allowed", text.size(), kMaxConfigBytes);
  }
  if (outline.depth() > kMaxConfigDepth) {
    raise(ErrorKind::kConfiguration, "the value nests {} deep; at most {} are allowed", outline.depth(), kMaxConfigDepth);
  }
  Listener listener({what.path.begin(), what.path.end() - 1}, outline);
  std::unique_ptr<Message> scratch(parent.New());
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&listener);
  parser.SetRecursionLimit(kMaxConfigDepth);
  if (!parser.ParseFromString(text, scratch.get())) {
    raise(ErrorKind::kConfiguration, "{}", listener.first());
  }
  std::vector<const FieldDescriptor*> set;
  scratch->GetReflection()->ListFields(*scratch, &set);
  if (set.size() > 1) raise(ErrorKind::kConfiguration, "holds more than one value");
  return scratch;
}

// The message that holds the last field of the path; creates those on the way.
Message* descend(const std::vector<std::string>& path, Message* message) {
  for (size_t i = 0; i < path.size(); ++i) {
    const FieldDescriptor* field = message->GetDescriptor()->FindFieldByName(path[i]);
    if (field == nullptr) {
      const std::vector<std::string> above(path.begin(), path.begin() + static_cast<std::ptrdiff_t>(i));
      raise(ErrorKind::kConfiguration, "{}", no_such_field(*message->GetDescriptor(), above, path[i]));
    }
    if (i + 1 == path.size()) break;
    if (!is_message(*field)) raise(ErrorKind::kConfiguration, "{} holds a value, not fields", path[i]);
    if (field->is_repeated()) {
      raise(ErrorKind::kConfiguration, "{} is repeated: set it as a whole, or append with +=", path[i]);
    }
    message = message->GetReflection()->MutableMessage(message, field);
  }
  return message;
}

void apply(const Override& what, config::RunConfig& config) {
  // A path that turns out wrong must not leave half of itself behind.
  config::RunConfig changed = config;
  Message* parent = descend(what.path, &changed);
  const FieldDescriptor* field = parent->GetDescriptor()->FindFieldByName(what.path.back());
  if (what.mode == Mode::kAppend && !field->is_repeated()) {
    raise(ErrorKind::kConfiguration, "{} holds one value: += appends to repeated fields only", join(what.path, "."));
  }
  const bool clears = trimmed(what.value).empty() && (is_message(*field) || field->is_repeated());
  const std::unique_ptr<Message> scratch = clears ? nullptr : parse_value(*parent, *field, what);
  if (what.mode == Mode::kReplace) parent->GetReflection()->ClearField(parent, field);
  if (scratch) parent->MergeFrom(*scratch);
  config = changed;
}

}  // namespace

void apply_override(const std::string& text, config::RunConfig& config, ConfigOrigins& origins) {
  const Override what = split(text);
  try {
    apply(what, config);
  } catch (const Error& error) {
    raise(ErrorKind::kConfiguration, "--set {}: {}", shown(text), error.what());
  }
  origins.set(join(what.path, "."), "--set " + shown(text));
}

}  // namespace longspan
