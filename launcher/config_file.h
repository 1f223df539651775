// Reading a configuration: a protobuf text file, then the --set overrides in their order. What is read is well formed
// and knows where every value came from; whether the values make sense is for config_limits.h and config_support.h.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "configs/schema/run.pb.h"
#include "launcher/config_origins.h"

namespace longspan {

constexpr size_t kMaxConfigBytes = size_t{1} << 20;
constexpr int kMaxConfigDepth = 100;  // protobuf has no limit of its own, and a deep file would overflow the stack

struct LoadedConfig {
  config::RunConfig config;
  ConfigOrigins origins;
};

// Raises Error(kConfiguration) with every problem found, one a line, each with its place.
LoadedConfig load_config(const std::string& path, const std::vector<std::string>& overrides);

// The same for text that is already here; `name` stands for the file in messages.
LoadedConfig parse_config(std::string_view text, const std::string& name,
                          const std::vector<std::string>& overrides);

// All of it as text that reads back to the same values, to the bit.
std::string print_config(const config::RunConfig& config);

}  // namespace longspan
