#include <isa-l/crc.h>

#include <algorithm>

#include "train/formats/crc32c.h"

namespace longspan {

uint32_t crc32c(std::span<const std::byte> bytes, uint32_t crc) {
  constexpr size_t kMostAtOnce = size_t{1} << 30;  // ISA-L takes the length as an int
  while (!bytes.empty()) {
    const auto part = bytes.first(std::min(bytes.size(), kMostAtOnce));
    // ISA-L promises not to write, but its pointer is not const. It works on the inverted remainder.
    auto* data = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(part.data()));
    crc = ~crc32_iscsi(data, static_cast<int>(part.size()), ~crc);
    bytes = bytes.subspan(part.size());
  }
  return crc;
}

}  // namespace longspan
