// Which of the known names a mistyped one was meant to be.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace longspan {

// Insertions, deletions, replacements and swaps of neighbours (Damerau 1964, optimal string alignment).
int edit_distance(std::string_view a, std::string_view b);

// The nearest candidate, the first of equals; empty where none is close enough to be worth saying.
std::string nearest_match(std::string_view name, const std::vector<std::string>& candidates);

// "; did you mean "x"?", or where nothing is near "; known are a, b, c".
std::string suggestion(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace longspan
