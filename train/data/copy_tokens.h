// Tokens of any stored type, copied out of a mapped file at any alignment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>

#include "core/base/error.h"

namespace longspan {

// out[i] = the i-th T of `in`. `document` and `offset`, that of the first token in it, are for the message: a
// token that is negative or beyond 32 bits signed raises Error(kData).
template <class T>
void copy_tokens(const std::byte* in, int64_t count, int32_t* out, const std::string& document,
                 int64_t offset) {
  for (int64_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, in + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
    const auto token = static_cast<int64_t>(value);
    if (token < 0 || token > std::numeric_limits<int32_t>::max()) [[unlikely]] {
      raise(ErrorKind::kData, "{}: token {} is {}, which is no token of any vocabulary", document, offset + i,
            token);
    }
    out[i] = static_cast<int32_t>(token);
  }
}

}  // namespace longspan
