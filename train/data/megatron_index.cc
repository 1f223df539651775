#include "train/data/megatron_index.h"

#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <string_view>

#include "core/base/error.h"

namespace longspan {

namespace {

static_assert(std::endian::native == std::endian::little, "the integers of the format are little-endian");

constexpr std::string_view kMagic("MMIDIDX\0\0", 9);
constexpr size_t kHeaderBytes = 34;

template <class T>
T value_at(const MappedFile& file, int64_t offset) {
  T value;
  std::memcpy(&value, file.bytes().data() + offset, sizeof value);
  return value;
}

MegatronType type_of_code(uint8_t code, const std::string& path) {
  constexpr std::array<std::string_view, 9> kNames = {"",      "uint8",   "int8",    "int16", "int32",
                                                      "int64", "float64", "float32", "uint16"};
  switch (code) {
    case 1:
      return MegatronType::kUInt8;
    case 2:
      return MegatronType::kInt8;
    case 4:
      return MegatronType::kInt32;
    case 8:
      return MegatronType::kUInt16;
    default:
      break;
  }
  if (code == 0 || code >= kNames.size())
    raise(ErrorKind::kData, "{} has the unknown token type {}", path, code);
  raise(ErrorKind::kData, "{} holds tokens of type {}; uint8, int8, uint16 and int32 are supported", path,
        kNames[code]);
}

}  // namespace

int64_t size_bytes(MegatronType type) {
  switch (type) {
    case MegatronType::kUInt8:
    case MegatronType::kInt8:
      return 1;
    case MegatronType::kUInt16:
      return 2;
    case MegatronType::kInt32:
      return 4;
  }
  return 0;
}

MegatronIndex::MegatronIndex(const std::string& path, int64_t bin_bytes) : file_(path, ErrorKind::kData) {
  read_header();
  check_sequences(bin_bytes);
  check_documents();
}

void MegatronIndex::read_header() {
  const std::string& path = file_.path();
  const size_t bytes = file_.size_bytes();
  if (bytes < kHeaderBytes) {
    raise(ErrorKind::kData, "{} has {} bytes; the header of a Megatron index alone has {}", path, bytes,
          kHeaderBytes);
  }
  if (std::memcmp(file_.bytes().data(), kMagic.data(), kMagic.size()) != 0) {
    raise(ErrorKind::kData, "{} is no Megatron index: it does not start with MMIDIDX", path);
  }
  if (const auto version = value_at<uint64_t>(file_, 9); version != 1) {
    raise(ErrorKind::kData, "{} has version {} of the Megatron index; 1 is supported", path, version);
  }
  type_ = type_of_code(value_at<uint8_t>(file_, 17), path);
  const auto sequences = value_at<uint64_t>(file_, 18), documents = value_at<uint64_t>(file_, 26);
  // Each count is held against the file before they are multiplied, so nothing can overflow.
  const uint64_t room = bytes - kHeaderBytes;
  if (sequences > room / 12 || documents > room / 8) {
    raise(ErrorKind::kData,
          "{} announces {} sequences and {} document bounds, more than its {} bytes can hold", path,
          sequences, documents, bytes);
  }
  const uint64_t needed = 12 * sequences + 8 * documents;
  if (room == needed + sequences && sequences > 0) {
    raise(ErrorKind::kData, "{} has sequence modes: multimodal data is not supported", path);
  }
  if (room != needed) {
    raise(ErrorKind::kData, "{} has {} bytes; {} sequences and {} document bounds need {}", path, bytes,
          sequences, documents, kHeaderBytes + needed);
  }
  if (documents == 0) raise(ErrorKind::kData, "{} has no document bounds; even an empty index has one", path);
  num_sequences_ = static_cast<int64_t>(sequences);
  num_documents_ = static_cast<int64_t>(documents) - 1;
}

void MegatronIndex::check_sequences(int64_t bin_bytes) const {
  const int64_t item = size_bytes(type_);
  for (int64_t i = 0; i < num_sequences_; ++i) {
    const int64_t tokens = sequence_tokens(i), offset = sequence_offset_bytes(i);
    if (tokens < 0) raise(ErrorKind::kData, "{}: sequence {} has {} tokens", file_.path(), i, tokens);
    // A length has 32 bits and an item at most 4 bytes: the product fits.
    if (offset < 0 || offset > bin_bytes || tokens * item > bin_bytes - offset) {
      raise(ErrorKind::kData, "{}: sequence {} of {} tokens lies at byte {}, but the .bin file has {} bytes",
            file_.path(), i, tokens, offset, bin_bytes);
    }
  }
}

void MegatronIndex::check_documents() const {
  if (first_sequence(0) != 0) {
    raise(ErrorKind::kData, "{}: the first document starts at sequence {}, not 0", file_.path(),
          first_sequence(0));
  }
  for (int64_t i = 0; i < num_documents_; ++i) {
    const int64_t first = first_sequence(i), next = first_sequence(i + 1);
    if (next < first || next > num_sequences_) {
      raise(ErrorKind::kData, "{}: document {} covers sequences {} to {}, but there are {}", file_.path(), i,
            first, next, num_sequences_);
    }
  }
  if (first_sequence(num_documents_) != num_sequences_) {
    raise(ErrorKind::kData, "{}: the documents end at sequence {}, but there are {}", file_.path(),
          first_sequence(num_documents_), num_sequences_);
  }
}

int64_t MegatronIndex::sequence_tokens(int64_t sequence) const {
  return value_at<int32_t>(file_, static_cast<int64_t>(kHeaderBytes) + 4 * sequence);
}

int64_t MegatronIndex::sequence_offset_bytes(int64_t sequence) const {
  return value_at<int64_t>(file_, static_cast<int64_t>(kHeaderBytes) + 4 * num_sequences_ + 8 * sequence);
}

int64_t MegatronIndex::first_sequence(int64_t document) const {
  return value_at<int64_t>(file_, static_cast<int64_t>(kHeaderBytes) + 12 * num_sequences_ + 8 * document);
}

}  // namespace longspan
