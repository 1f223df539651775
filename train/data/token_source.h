// TokenSource: the documents of one format as random access to tokens.
//
//   TEXT        each file is a document, each byte a token
//   TOKENS_U16  each file is a document of raw little-endian tokens, without a header; TOKENS_U32 alike
//   MEGATRON    prefix.idx and prefix.bin of Megatron-LM's indexed dataset (megatron_index.h)
//
// Files are mapped when they are first read, and few at a time. All errors are Error(kData) and name the
// file. An object serves one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "train/data/data_spec.h"

namespace longspan {

class TokenSource {
 public:
  virtual ~TokenSource() = default;

  virtual int64_t num_documents() const = 0;
  virtual int64_t document_tokens(int64_t document) const = 0;
  // Which of the files it lies in. Documents are numbered file by file.
  virtual size_t file_of(int64_t document) const = 0;
  // The path, with "#number" where a file holds many.
  virtual std::string document_name(int64_t document) const = 0;
  // Tokens [offset, offset + count) of a document. A token beyond 32 bits signed is refused.
  virtual void read(int64_t document, int64_t offset, int64_t count, int32_t* out) const = 0;
};

// `files` are single files, or prefixes for MEGATRON; document_files.h makes them from what the user wrote.
std::unique_ptr<TokenSource> open_token_source(DataFormat format, const std::vector<std::string>& files);

}  // namespace longspan
