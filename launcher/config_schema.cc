#include "launcher/config_schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "configs/schema/run.pb.h"
#include "core/base/error.h"
#include "launcher/join.h"
#include "launcher/nearest_match.h"

namespace longspan {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;

void append_paths(const Descriptor& message, const std::string& prefix, std::vector<std::string>& paths) {
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor* field = message.field(i);
    const std::string path = prefix + field->name();
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      append_paths(*field->message_type(), path + (field->is_repeated() ? "[]." : "."), paths);
    } else {
      paths.push_back(path);
    }
  }
}

// What stands between the n-th pair of double quotes of a message.
std::string quoted(const std::string& message, int n) {
  size_t begin = 0;
  for (int i = 0; i <= n; ++i) {
    begin = message.find('"', begin);
    if (begin == std::string::npos) return {};
    const size_t end = message.find('"', begin + 1);
    if (end == std::string::npos) return {};
    if (i == n) return message.substr(begin + 1, end - begin - 1);
    begin = end + 1;
  }
  return {};
}

}  // namespace

const Descriptor& config_descriptor() { return *config::RunConfig::descriptor(); }

std::vector<std::string> field_names(const Descriptor& message) {
  std::vector<std::string> names;
  for (int i = 0; i < message.field_count(); ++i) names.push_back(message.field(i)->name());
  return names;
}

std::vector<std::string> value_names(const EnumDescriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) names.push_back(type.value(i)->name());
  return names;
}

std::vector<std::string> all_field_paths() {
  std::vector<std::string> paths;
  append_paths(config_descriptor(), "", paths);
  return paths;
}

const Descriptor* message_at(const std::vector<std::string>& path) {
  const Descriptor* message = &config_descriptor();
  for (const std::string& name : path) {
    const FieldDescriptor* field = message->FindFieldByName(name);
    if (field == nullptr || field->message_type() == nullptr) return nullptr;
    message = field->message_type();
  }
  return message;
}

std::string no_such_field(const Descriptor& message, const std::vector<std::string>& path,
                          const std::string& name) {
  const std::string around = path.empty() ? "the configuration" : join(path, ".");
  const std::vector<std::string> known = field_names(message);
  std::string advice = suggestion(name, known);
  if (nearest_match(name, known).empty()) {
    // Right name, wrong place: a field that belongs elsewhere.
    for (const std::string& elsewhere : all_field_paths()) {
      if (elsewhere.ends_with("." + name)) {
        advice = fmt::format("; did you mean \"{}\"?", elsewhere);
        break;
      }
    }
  }
  return fmt::format("{} has no field \"{}\"{}", around, shown(name), advice);
}

std::string no_such_value(const FieldDescriptor& field, const std::string& path, const std::string& value) {
  const std::vector<std::string> known = value_names(*field.enum_type());
  const std::string best = nearest_match(value, known);
  return fmt::format("{} is \"{}\"; allowed are {}{}", path, shown(value), join(known, ", "),
                     best.empty() ? "" : fmt::format("; did you mean \"{}\"?", best));
}

std::string subject_of_parser_message(const std::string& message) {
  if (message.find("has no field named") != std::string::npos) return quoted(message, 1);
  const bool value = message.find("Unknown enumeration value of") != std::string::npos;
  const bool twice = message.find("specified multiple times") != std::string::npos;
  return value || twice ? quoted(message, 0) : std::string();
}

bool is_about_value(const std::string& message) {
  constexpr std::array<std::string_view, 4> kOpenings = {"Expected integer", "Expected double", "Expected string",
                                                         "Integer out of range"};
  return std::any_of(kOpenings.begin(), kOpenings.end(), [&](auto opening) { return message.starts_with(opening); });
}

bool is_about_message(const std::string& message) { return message.starts_with("Expected \"{\""); }

std::string explain_parser_message(const std::string& message, const std::vector<std::string>& path) {
  if (message.ends_with("got: ")) return message + "the end of the text";
  const Descriptor* around = message_at(path);
  if (around == nullptr) return message;
  if (message.find("has no field named") != std::string::npos) {
    return no_such_field(*around, path, quoted(message, 1));
  }
  if (message.find("Unknown enumeration value of") != std::string::npos) {
    const FieldDescriptor* field = around->FindFieldByName(quoted(message, 1));
    if (field != nullptr && field->enum_type() != nullptr) {
      std::vector<std::string> full = path;
      full.push_back(field->name());
      return no_such_value(*field, join(full, "."), quoted(message, 0));
    }
  }
  return message;
}

}  // namespace longspan
