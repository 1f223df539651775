#include "train/formats/crc32c.h"

namespace longspan {

uint32_t crc32c(std::span<const std::byte> bytes, uint32_t crc) {
  return crc32c_portable(bytes, crc);
}

}  // namespace longspan
