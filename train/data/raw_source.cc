#include "train/data/raw_source.h"

#include <bit>

#include "train/data/copy_tokens.h"

namespace longspan {

namespace {

static_assert(std::endian::native == std::endian::little, "raw tokens are little-endian");

int64_t item_bytes(RawType type) {
  switch (type) {
    case RawType::kUInt8:
      return 1;
    case RawType::kUInt16:
      return 2;
    case RawType::kUInt32:
      return 4;
  }
  return 1;
}

}  // namespace

RawSource::RawSource(RawType type, const std::vector<std::string>& files) : type_(type), files_(files) {
  const int64_t item = item_bytes(type);
  for (const std::string& path : files) {
    const int64_t bytes = file_size_bytes(path);
    if (bytes % item != 0) {
      raise(ErrorKind::kData, "{} has {} bytes, which is no whole number of tokens of {} bytes", path, bytes,
            item);
    }
    num_tokens_.push_back(bytes / item);
  }
}

void RawSource::read(int64_t document, int64_t offset, int64_t count, int32_t* out) const {
  const int64_t tokens = document_tokens(document), item = item_bytes(type_);
  check(0 <= offset && 0 <= count && offset <= tokens - count, "tokens [{}, {} + {}) of a document of {}",
        offset, offset, count, tokens);
  const MappedFile& file = files_.get(static_cast<size_t>(document), tokens * item);
  const std::byte* in = file.bytes().data() + offset * item;
  switch (type_) {
    case RawType::kUInt8:
      return copy_tokens<uint8_t>(in, count, out, file.path(), offset);
    case RawType::kUInt16:
      return copy_tokens<uint16_t>(in, count, out, file.path(), offset);
    case RawType::kUInt32:
      return copy_tokens<uint32_t>(in, count, out, file.path(), offset);
  }
}

}  // namespace longspan
