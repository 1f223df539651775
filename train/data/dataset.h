// Dataset: documents laid end to end and cut into sequences of equal length.
//
// Order::kShuffled is for training. Each source is an endless stream: epoch after epoch, its documents in an
// order drawn for (seed, source, epoch), cut into sequences of S = sequence_length tokens, and these in an
// order of their own (sequence_order.h), so that the pieces of a long document do not follow each other. With
// several sources, a sequence comes from the source whose share so far lags most behind its weight (blend.h).
// Order::kListed is for evaluation: all documents once, sources one after the other, files by path; weights
// do not matter and the last sequence may be shorter.
//
// A sequence is a pure function of (spec, files, seed, number), so that any rank, in any order, after any
// restart, reads the same. Cost: one binary search and the tokens read; once for each epoch, a pass over the
// list of documents. All errors are Error(kData) and name the file. An object serves one thread at a time;
// each rank opens its own.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "train/data/blend.h"
#include "train/data/data_spec.h"
#include "train/data/document_stream.h"
#include "train/data/sequence_order.h"
#include "train/data/token_source.h"

namespace longspan {

// A run of tokens that attend only to each other: tokens [begin, begin + length) of the sequence.
struct DocumentSpan {
  int64_t begin = 0, length = 0;
  int64_t document = -1;  // Dataset::document_name knows it; -1: the run holds pieces of several (kStream)
  int64_t offset_in_document = 0;  // where the run starts in its document; 0 where there are several
};

struct TokenSequence {
  std::vector<int32_t> tokens;
  // They tile the sequence. Packing::kDocuments: one for each piece of a document; what a sequence's end cuts
  // off opens the next one as a document of its own. Packing::kStream: one in all.
  std::vector<DocumentSpan> documents;
};

enum class Order { kShuffled, kListed };

class Dataset {
 public:
  Dataset(const DataSpec& spec, uint64_t seed, int64_t vocabulary_size, Order order);

  // Any number >= 0 (kShuffled), or below num_sequences_per_epoch() (kListed). Raises for a token outside of
  // the vocabulary, naming the file, the token's place in it and the size of the vocabulary.
  TokenSequence sequence(int64_t number) const;

  // Of kShuffled: raises where a source of this spec has fewer tokens than one sequence takes. Training on it would silently
  // learn one short text by heart.
  void refuse_repetition(const DataSpec& spec) const;

  int64_t num_sequences_per_epoch() const;  // total_tokens() / S, rounded up
  int64_t total_tokens() const;             // of one epoch, in this part of the data
  int64_t num_documents() const;
  // Documents are numbered from 0 in listed order, sources one after the other, empty ones left out.
  std::string document_name(int64_t document) const;
  int64_t document_tokens(int64_t document) const;
  // Of the lengths of all documents, in listed order, and of tokens at both ends of some thousands of them. Ranks that find
  // different files, or a run that resumes with other data than it began with, have different fingerprints, but for a
  // change in the middle of a document.
  uint32_t fingerprint() const;
  // Known for TEXT only.
  std::optional<double> bytes_per_token() const;
  // Files found in folders that could not be used: unreadable, broken links, pipes, linked folders. And empty
  // files.
  int64_t num_skipped_files() const { return num_skipped_files_; }
  int64_t num_empty_files() const { return num_empty_files_; }

 private:
  struct Source {
    std::unique_ptr<TokenSource> tokens;
    std::vector<uint32_t> documents;  // those of this part, by their number in `tokens`
    int64_t first_document = 0;       // number of the first one in the dataset
  };

  void open_sources(const DataSpec& spec);
  void make_streams(uint64_t seed);
  const Source& source_of(int64_t document) const;
  void append_piece(const DocumentPiece& piece, TokenSequence& sequence) const;

  DataFormat format_;
  Packing packing_;
  Order order_;
  int64_t sequence_length_, vocabulary_size_;
  std::vector<Source> sources_;
  std::vector<SequenceOrder> orders_;    // kShuffled: one for each source
  std::vector<DocumentStream> streams_;  // kShuffled: one for each source; kListed: one
  Blend blend_;
  int64_t num_skipped_files_ = 0, num_empty_files_ = 0;
};

// Raises where the files give no documents in this part.
Dataset open_dataset(const DataSpec& spec, uint64_t seed, int64_t vocabulary_size, Order order);

}  // namespace longspan
