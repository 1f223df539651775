// DocumentStream: documents laid end to end, epoch after epoch, as one line of tokens that can be cut
// anywhere.
//
// Epoch e holds all documents in an order drawn for (seed, name, e) by Fisher and Yates's shuffle, or as
// listed. The order of the last two epochs asked for is kept: 12 bytes for each document.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace longspan {

// Tokens [offset, offset + length) of a document.
struct DocumentPiece {
  int64_t document = 0, offset = 0, length = 0;
};

class DocumentStream {
 public:
  enum class Shuffle { kNo, kEveryEpoch };

  // lengths[i] > 0 is that of document first_document + i; not empty.
  DocumentStream(std::vector<int64_t> lengths, int64_t first_document, Shuffle shuffle, uint64_t seed,
                 const std::string& name);

  int64_t num_tokens() const { return num_tokens_; }  // of one epoch
  // The pieces that make up tokens [begin, begin + count) of the endless stream.
  std::vector<DocumentPiece> pieces(int64_t begin, int64_t count) const;

 private:
  struct Epoch {
    int64_t number = 0;
    std::vector<uint32_t> order;  // documents, less first_document_
    std::vector<int64_t> begins;  // first token of each in the epoch
  };
  std::shared_ptr<const Epoch> epoch(int64_t number) const;

  std::vector<int64_t> lengths_;
  int64_t first_document_;
  Shuffle shuffle_;
  uint64_t seed_;
  std::string name_;
  int64_t num_tokens_ = 0;
  mutable std::vector<std::shared_ptr<const Epoch>> epochs_;  // the latest last
};

}  // namespace longspan
