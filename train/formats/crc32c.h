// CRC-32C (Castagnoli, reflected polynomial 0x82f63b78): the checksum of checkpoints and of TensorBoard
// records. crc32c("123456789") is 0xe3069283.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace longspan {

// `crc` is that of the bytes before these, so that long data may come in pieces.
uint32_t crc32c(std::span<const std::byte> bytes, uint32_t crc = 0);

// The same by tables, for processors without an own instruction; crc32c is one of the two.
uint32_t crc32c_portable(std::span<const std::byte> bytes, uint32_t crc = 0);

}  // namespace longspan
