// MegatronSource: the documents of one or several indexed datasets of Megatron-LM, each a pair prefix.idx,
// prefix.bin.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "train/data/mapped_files.h"
#include "train/data/megatron_index.h"
#include "train/data/token_source.h"

namespace longspan {

class MegatronSource : public TokenSource {
 public:
  explicit MegatronSource(const std::vector<std::string>& prefixes);

  int64_t num_documents() const override { return static_cast<int64_t>(num_tokens_.size()); }
  int64_t document_tokens(int64_t document) const override {
    return num_tokens_[static_cast<size_t>(document)];
  }
  size_t file_of(int64_t document) const override;
  std::string document_name(int64_t document) const override;
  void read(int64_t document, int64_t offset, int64_t count, int32_t* out) const override;

 private:
  struct Part {
    std::unique_ptr<MegatronIndex> index;
    int64_t bin_bytes = 0;
    int64_t first_document = 0;
  };

  MappedFiles bins_;
  std::vector<Part> parts_;
  std::vector<int64_t> num_tokens_;  // of each document
};

}  // namespace longspan
