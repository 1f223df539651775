// The range of every number of the configuration, and that every enum holds a value of its type.
#pragma once

#include <optional>
#include <string>

#include "configs/schema/run.pb.h"
#include "launcher/config_origins.h"

namespace longspan {

struct NumberLimits {
  const char* path;  // as all_field_paths() of config_schema.h spells it
  double minimum, maximum;
  enum class Lower { kClosed, kOpen } lower = Lower::kClosed;  // whether the minimum itself is allowed
};

// Empty where the path is not a number, or where its type is limit enough (seed).
std::optional<NumberLimits> limits_of(const std::string& path);

// Adds a problem for every number that is set and not finite or outside its limits, and for every unknown enum value.
void check_limits(const config::RunConfig& config, ConfigProblems& problems);

}  // namespace longspan
