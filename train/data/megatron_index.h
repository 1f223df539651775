// MegatronIndex: prefix.idx of Megatron-LM's indexed dataset (megatron/core/datasets/indexed_dataset.py).
//
//   "MMIDIDX\0\0" | u64 version = 1 | u8 dtype code | u64 S sequences | u64 D | i32[S] lengths in tokens
//   | i64[S] byte offsets into prefix.bin | i64[D] first sequence of each document, and S at the end
//
// The header has 34 bytes, so no array is aligned: values are copied out, never read in place. Every count,
// length and offset is checked against the sizes of both files on opening; multimodal files are refused.
// Raises Error(kData).
#pragma once

#include <cstdint>
#include <string>

#include "train/formats/mapped_file.h"

namespace longspan {

enum class MegatronType { kUInt8, kInt8, kInt32, kUInt16 };
int64_t size_bytes(MegatronType type);

class MegatronIndex {
 public:
  // `bin_bytes` is the size of prefix.bin.
  MegatronIndex(const std::string& path, int64_t bin_bytes);

  // Before reading from it long after opening (mapped_file.h).
  void expect_unchanged() const { file_.expect_unchanged(); }

  MegatronType type() const { return type_; }
  int64_t num_documents() const { return num_documents_; }
  int64_t first_sequence(int64_t document) const;  // one past the last document: the number of sequences
  int64_t sequence_tokens(int64_t sequence) const;
  int64_t sequence_offset_bytes(int64_t sequence) const;  // into prefix.bin

 private:
  void read_header();
  void check_sequences(int64_t bin_bytes) const;
  void check_documents() const;

  MappedFile file_;
  MegatronType type_ = MegatronType::kUInt16;
  int64_t num_sequences_ = 0, num_documents_ = 0;
};

}  // namespace longspan
