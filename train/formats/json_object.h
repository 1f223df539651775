// JsonObject: a JSON object from a file that somebody else wrote, read key by key with one clear error for
// each mistake.
//
// A key that is null counts as absent, as in transformers. Raises Error(kCheckpoint) naming the file and the
// key.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/base/error.h"

namespace longspan {

// Parses a whole text, at most 64 levels deep; the root must be an object, and no object may hold a key twice, of which one
// would be ignored.
nlohmann::json parse_json_object(const std::string& text, const std::string& path);

class JsonObject {
 public:
  // `prefix` names the object itself in messages: "" for the root, "rope_scaling." for what is under that
  // key.
  JsonObject(const nlohmann::json& object, std::string path, std::string prefix);

  const std::string& path() const { return path_; }
  bool has(const std::string& key) const;
  bool mentions(const std::string& key) const;  // also as null
  std::vector<std::string> keys() const;        // sorted; those that are null left out

  // Absent without a default: an error. Integers lie in [least, 2^31).
  int64_t integer(const std::string& key, int64_t least = 1) const;
  std::optional<int64_t> optional_integer(const std::string& key, int64_t least = 1) const;
  double positive_number(const std::string& key) const;
  std::optional<double> optional_positive_number(const std::string& key) const;
  std::optional<double> optional_number(const std::string& key) const;
  std::optional<std::string> optional_text(const std::string& key) const;
  bool flag(const std::string& key) const;  // absent: false
  JsonObject object(const std::string& key) const;
  std::vector<std::string> texts(const std::string& key) const;  // absent: none
  bool holds_object(const std::string& key) const;

  std::string name_of(const std::string& key) const { return shown(prefix_ + key); }
  [[noreturn]] void refuse(const std::string& key, const std::string& why) const;

 private:
  const nlohmann::json& at(const std::string& key) const;
  [[noreturn]] void wrong_type(const std::string& key, const char* wanted) const;

  const nlohmann::json* object_;
  std::string path_, prefix_;
};

}  // namespace longspan
