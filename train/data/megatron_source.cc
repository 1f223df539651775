#include "train/data/megatron_source.h"

#include <algorithm>

#include "train/data/copy_tokens.h"

namespace longspan {

namespace {

std::vector<std::string> with_suffix(const std::vector<std::string>& prefixes, const char* suffix) {
  std::vector<std::string> paths;
  for (const std::string& prefix : prefixes) paths.push_back(prefix + suffix);
  return paths;
}

void copy_typed(MegatronType type, const std::byte* in, int64_t count, int32_t* out,
                const std::string& document, int64_t offset) {
  switch (type) {
    case MegatronType::kUInt8:
      return copy_tokens<uint8_t>(in, count, out, document, offset);
    case MegatronType::kInt8:
      return copy_tokens<int8_t>(in, count, out, document, offset);
    case MegatronType::kInt32:
      return copy_tokens<int32_t>(in, count, out, document, offset);
    case MegatronType::kUInt16:
      return copy_tokens<uint16_t>(in, count, out, document, offset);
  }
}

}  // namespace

MegatronSource::MegatronSource(const std::vector<std::string>& prefixes)
    : bins_(with_suffix(prefixes, ".bin")) {
  for (const std::string& prefix : prefixes) {
    Part part{
        .index = nullptr, .bin_bytes = file_size_bytes(prefix + ".bin"), .first_document = num_documents()};
    part.index = std::make_unique<MegatronIndex>(prefix + ".idx", part.bin_bytes);
    const MegatronIndex& index = *part.index;
    for (int64_t document = 0; document < index.num_documents(); ++document) {
      int64_t tokens = 0;
      for (int64_t i = index.first_sequence(document); i < index.first_sequence(document + 1); ++i) {
        tokens += index.sequence_tokens(i);
      }
      num_tokens_.push_back(tokens);
    }
    parts_.push_back(std::move(part));
  }
}

size_t MegatronSource::file_of(int64_t document) const {
  const auto after = std::upper_bound(parts_.begin(), parts_.end(), document,
                                      [](int64_t d, const Part& part) { return d < part.first_document; });
  return static_cast<size_t>(after - parts_.begin()) - 1;
}

std::string MegatronSource::document_name(int64_t document) const {
  const size_t part = file_of(document);
  return fmt::format("{}#{}", bins_.path(part), document - parts_[part].first_document);
}

void MegatronSource::read(int64_t document, int64_t offset, int64_t count, int32_t* out) const {
  const int64_t tokens = document_tokens(document);
  check(0 <= offset && 0 <= count && offset <= tokens - count, "tokens [{}, {} + {}) of a document of {}",
        offset, offset, count, tokens);
  const size_t number = file_of(document);
  const Part& part = parts_[number];
  const MegatronIndex& index = *part.index;
  index.expect_unchanged();
  const MappedFile& bin = bins_.get(number, part.bin_bytes);
  const std::string name = document_name(document);
  int64_t begin = 0;  // of the sequence, in the document
  for (int64_t i = index.first_sequence(document - part.first_document); count > 0; ++i) {
    const int64_t length = index.sequence_tokens(i);
    const int64_t skipped = offset - begin;
    if (skipped < length) {
      const int64_t copied = std::min(length - skipped, count);
      const std::byte* in =
          bin.bytes().data() + index.sequence_offset_bytes(i) + skipped * size_bytes(index.type());
      copy_typed(index.type(), in, copied, out, name, offset);
      out += copied;
      offset += copied;
      count -= copied;
    }
    begin += length;
  }
}

}  // namespace longspan
