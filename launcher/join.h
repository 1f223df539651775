// Words with a separator between them. (fmt::join makes g++ 12 warn of an overflow that is not there.)
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace longspan {

inline std::string join(const std::vector<std::string>& words, std::string_view separator) {
  std::string text;
  for (const std::string& word : words) {
    if (!text.empty()) text += separator;
    text += word;
  }
  return text;
}

}  // namespace longspan
