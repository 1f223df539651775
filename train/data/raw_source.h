// RawSource: files that hold nothing but tokens of one size, each a document: TEXT, TOKENS_U16 and
// TOKENS_U32.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "train/data/mapped_files.h"
#include "train/data/token_source.h"

namespace longspan {

enum class RawType { kUInt8, kUInt16, kUInt32 };

class RawSource : public TokenSource {
 public:
  RawSource(RawType type, const std::vector<std::string>& files);

  int64_t num_documents() const override { return static_cast<int64_t>(num_tokens_.size()); }
  int64_t document_tokens(int64_t document) const override {
    return num_tokens_[static_cast<size_t>(document)];
  }
  size_t file_of(int64_t document) const override { return static_cast<size_t>(document); }
  std::string document_name(int64_t document) const override {
    return files_.path(static_cast<size_t>(document));
  }
  void read(int64_t document, int64_t offset, int64_t count, int32_t* out) const override;

 private:
  RawType type_;
  MappedFiles files_;
  std::vector<int64_t> num_tokens_;
};

}  // namespace longspan
