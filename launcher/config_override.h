// --set path=value: changes one field of a configuration. The value replaces what was there, also in a repeated field
// or a message; `path+=value` appends to a repeated field.
//
// Values are those of the text format: 3, 1e-3, true, STRIPED, "text", ["a", "b"], {context: 2}. Text may do without
// quotes, a message without braces, and nothing at all clears the field.
#pragma once

#include <string>

#include "configs/schema/run.pb.h"
#include "launcher/config_origins.h"

namespace longspan {

// Raises Error(kConfiguration) that begins with "--set " and the text.
void apply_override(const std::string& text, config::RunConfig& config, ConfigOrigins& origins);

}  // namespace longspan
