#include "train/formats/json_object.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "core/base/error.h"

namespace longspan {

namespace {

constexpr int kDeepest = 64;
constexpr size_t kMostValues = 4'000'000;  // a value of two bytes takes some sixteen in memory
constexpr int64_t kGreatest = (int64_t{1} << 31) - 1;

// What a message quotes of a value: it may be long.
std::string quoted(const nlohmann::json& value) {
  return shown(value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), 80);
}

// Looks on while a text is parsed: what a tree of values could not tell any more, or should never hold.
class Watcher {
 public:
  explicit Watcher(const std::string& path) : path_(path) {}

  void see(int depth, nlohmann::json::parse_event_t event, const nlohmann::json& parsed) {
    using Event = nlohmann::json::parse_event_t;
    if (depth > kDeepest) raise(ErrorKind::kCheckpoint, "{}: more than {} levels of nesting", path_, kDeepest);
    if (++num_events_ > kMostValues) raise(ErrorKind::kCheckpoint, "{}: more than {} values", path_, kMostValues);
    if (event == Event::object_start) keys_.emplace_back();
    if (event == Event::object_end) keys_.pop_back();
    if (event != Event::key) return;
    last_key_ = parsed.get<std::string>();
    if (!keys_.back().insert(last_key_).second) {
      raise(ErrorKind::kCheckpoint, "{}: the key '{}' is there twice", path_, shown(last_key_));
    }
  }
  std::string last_key() const { return shown(last_key_); }

 private:
  const std::string& path_;
  std::string last_key_ = "(none)";
  std::vector<std::set<std::string>> keys_;  // of each object that is open
  size_t num_events_ = 0;
};

}  // namespace

nlohmann::json parse_json_object(const std::string& text, const std::string& path) {
  Watcher watcher(path);
  const auto watch = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    watcher.see(depth, event, parsed);
    return true;
  };
  nlohmann::json root;
  try {
    root = nlohmann::json::parse(text, watch);
  } catch (const nlohmann::json::exception& failure) {
    raise(ErrorKind::kCheckpoint, "{} is not JSON, after the key '{}': {}", path, watcher.last_key(),
          shown(failure.what(), 400));
  }
  if (!root.is_object()) raise(ErrorKind::kCheckpoint, "{} holds {}, not an object", path, quoted(root));
  return root;
}

JsonObject::JsonObject(const nlohmann::json& object, std::string path, std::string prefix)
    : object_(&object), path_(std::move(path)), prefix_(std::move(prefix)) {}

bool JsonObject::has(const std::string& key) const {
  const auto found = object_->find(key);
  return found != object_->end() && !found->is_null();
}

bool JsonObject::mentions(const std::string& key) const {
  return object_->contains(key);
}

std::vector<std::string> JsonObject::keys() const {
  std::vector<std::string> names;
  for (const auto& [key, value] : object_->items()) {
    if (!value.is_null()) names.push_back(key);
  }
  return names;
}

const nlohmann::json& JsonObject::at(const std::string& key) const {
  if (!has(key)) raise(ErrorKind::kCheckpoint, "{}: {} is missing", path_, name_of(key));
  return (*object_)[key];
}

void JsonObject::refuse(const std::string& key, const std::string& why) const {
  raise(ErrorKind::kCheckpoint, "{}: {} is {}: {}", path_, name_of(key), quoted(at(key)), why);
}

void JsonObject::wrong_type(const std::string& key, const char* wanted) const {
  raise(ErrorKind::kCheckpoint, "{}: {} should be {}, not {}", path_, name_of(key), wanted, quoted(at(key)));
}

int64_t JsonObject::integer(const std::string& key, int64_t least) const {
  const nlohmann::json& value = at(key);
  if (!value.is_number_integer()) wrong_type(key, "an integer");
  const bool too_great =
      value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(kGreatest);
  if (too_great || value.get<int64_t>() < least) {
    raise(ErrorKind::kCheckpoint, "{}: {} should be from {} to {}, not {}", path_, name_of(key), least,
          kGreatest, quoted(value));
  }
  return value.get<int64_t>();
}

std::optional<int64_t> JsonObject::optional_integer(const std::string& key, int64_t least) const {
  if (!has(key)) return std::nullopt;
  return integer(key, least);
}

std::optional<double> JsonObject::optional_number(const std::string& key) const {
  if (!has(key)) return std::nullopt;
  const nlohmann::json& value = at(key);
  if (!value.is_number()) wrong_type(key, "a number");
  return value.get<double>();
}

double JsonObject::positive_number(const std::string& key) const {
  const nlohmann::json& value = at(key);
  if (!value.is_number()) wrong_type(key, "a positive number");
  const double number = value.get<double>();
  if (!std::isfinite(number) || number <= 0) wrong_type(key, "a positive number");
  return number;
}

std::optional<double> JsonObject::optional_positive_number(const std::string& key) const {
  if (!has(key)) return std::nullopt;
  return positive_number(key);
}

std::optional<std::string> JsonObject::optional_text(const std::string& key) const {
  if (!has(key)) return std::nullopt;
  if (!at(key).is_string()) wrong_type(key, "a string");
  return at(key).get<std::string>();
}

bool JsonObject::flag(const std::string& key) const {
  if (!has(key)) return false;
  if (!at(key).is_boolean()) wrong_type(key, "true or false");
  return at(key).get<bool>();
}

JsonObject JsonObject::object(const std::string& key) const {
  if (!at(key).is_object()) wrong_type(key, "an object");
  return {at(key), path_, prefix_ + key + "."};
}

bool JsonObject::holds_object(const std::string& key) const {
  return has(key) && at(key).is_object();
}

std::vector<std::string> JsonObject::texts(const std::string& key) const {
  if (!has(key)) return {};
  std::vector<std::string> list;
  if (!at(key).is_array()) wrong_type(key, "a list of strings");
  for (const nlohmann::json& item : at(key)) {
    if (!item.is_string()) wrong_type(key, "a list of strings");
    list.push_back(item.get<std::string>());
  }
  return list;
}

}  // namespace longspan
