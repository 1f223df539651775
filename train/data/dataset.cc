#include "train/data/dataset.h"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <span>
#include <utility>

#include "core/base/error.h"
#include "train/data/document_files.h"
#include "train/formats/crc32c.h"

namespace longspan {

namespace {

std::vector<std::string> paths_of(const DocumentFiles& found) {
  std::vector<std::string> paths;
  for (const DocumentFile& file : found.files) paths.push_back(file.path);
  return paths;
}

// Documents of all sources numbered by path, empty ones left out and a file in two sources counted once, so
// that which ones are held out is the same for training and for evaluation. first_number[real path] is that
// of its first document.
class HoldoutNumbers {
 public:
  void add(const DocumentFiles& found, const TokenSource& source) {
    std::vector<int64_t> counts(found.files.size(), 0);
    for (int64_t i = 0; i < source.num_documents(); ++i) {
      if (source.document_tokens(i) > 0) ++counts[source.file_of(i)];
    }
    for (size_t file = 0; file < counts.size(); ++file)
      first_number_[found.files[file].real_path] = counts[file];
  }

  void finish() {
    int64_t next = 0;
    for (auto& [path, number] : first_number_) next += std::exchange(number, next);
  }

  int64_t first_number(const DocumentFile& file) const { return first_number_.at(file.real_path); }

 private:
  std::map<std::string, int64_t> first_number_;
};

bool belongs(int64_t number, const DataSpec& spec) {
  if (spec.part == DataPart::kAll || spec.holdout_every == 0) return spec.part != DataPart::kHeldOut;
  const bool held_out = number % spec.holdout_every == spec.holdout_every - 1;
  return held_out == (spec.part == DataPart::kHeldOut);
}

std::vector<uint32_t> documents_of_part(const DataSpec& spec, const DocumentFiles& found,
                                        const TokenSource& source, const HoldoutNumbers& numbers) {
  check(source.num_documents() <= std::numeric_limits<uint32_t>::max(), "{} documents in one source",
        source.num_documents());
  std::vector<uint32_t> documents;
  size_t file = 0;
  int64_t number = numbers.first_number(found.files[0]);
  for (int64_t i = 0; i < source.num_documents(); ++i) {
    if (source.file_of(i) != file) number = numbers.first_number(found.files[file = source.file_of(i)]);
    if (source.document_tokens(i) > 0 && belongs(number++, spec))
      documents.push_back(static_cast<uint32_t>(i));
  }
  return documents;
}

const char* name_of(DataPart part) {
  return part == DataPart::kHeldOut    ? "held out"
         : part == DataPart::kTraining ? "left for training"
                                       : "there";
}

}  // namespace

Dataset::Dataset(const DataSpec& spec, uint64_t seed, int64_t vocabulary_size, Order order)
    : format_(spec.format),
      packing_(spec.packing),
      order_(order),
      sequence_length_(spec.sequence_length),
      vocabulary_size_(vocabulary_size) {
  check(spec.sequence_length > 0 && spec.holdout_every >= 0 && vocabulary_size > 0,
        "sequence_length is {}, holdout_every {} and the vocabulary has {} tokens", spec.sequence_length,
        spec.holdout_every, vocabulary_size);
  if (spec.sources.empty()) raise(ErrorKind::kData, "no data files are named");
  open_sources(spec);
  make_streams(seed);
}

void Dataset::open_sources(const DataSpec& spec) {
  std::vector<DocumentFiles> found;
  HoldoutNumbers numbers;
  for (const DataSource& entry : spec.sources) {
    found.push_back(find_document_files(entry.files, spec.format));
    num_skipped_files_ += found.back().num_skipped;
    num_empty_files_ += found.back().num_empty;
    sources_.push_back({.tokens = open_token_source(spec.format, paths_of(found.back())), .documents = {}});
    numbers.add(found.back(), *sources_.back().tokens);
  }
  numbers.finish();
  std::vector<double> weights;
  int64_t num_documents = 0;
  for (size_t j = 0; j < sources_.size(); ++j) {
    Source& source = sources_[j];
    source.documents = documents_of_part(spec, found[j], *source.tokens, numbers);
    source.first_document = num_documents;
    num_documents += static_cast<int64_t>(source.documents.size());
    weights.push_back(spec.sources[j].weight);
    if (source.documents.empty() && order_ == Order::kShuffled) {
      raise(ErrorKind::kData, "of the data that starts with {}, no document is {} (holdout_every: {})",
            spec.sources[j].files[0], name_of(spec.part), spec.holdout_every);
    }
  }
  if (num_documents == 0) {
    raise(ErrorKind::kData, "of the data that starts with {}, no document is {} (holdout_every: {})",
          spec.sources[0].files[0], name_of(spec.part), spec.holdout_every);
  }
  blend_ = Blend(weights);
}

void Dataset::make_streams(uint64_t seed) {
  std::vector<int64_t> lengths;  // kListed: of all sources
  for (size_t j = 0; j < sources_.size(); ++j) {
    for (const uint32_t i : sources_[j].documents) lengths.push_back(sources_[j].tokens->document_tokens(i));
    if (order_ == Order::kListed) continue;
    const std::string name = fmt::format("data/source {}", j);
    streams_.emplace_back(std::exchange(lengths, {}), sources_[j].first_document,
                          DocumentStream::Shuffle::kEveryEpoch, seed, name);
    orders_.emplace_back((streams_.back().num_tokens() - 1) / sequence_length_ + 1, seed, name);
  }
  if (order_ == Order::kListed)
    streams_.emplace_back(std::move(lengths), 0, DocumentStream::Shuffle::kNo, seed, "data");
}

void Dataset::refuse_repetition(const DataSpec& spec) const {
  for (size_t j = 0; j < streams_.size(); ++j) {
    const int64_t tokens = streams_[j].num_tokens();
    if (tokens >= sequence_length_) continue;
    raise(ErrorKind::kData,
          "of the data that starts with {}, {} tokens are {} (holdout_every: {}), fewer than the {} of one sequence, "
          "which would only repeat them: add files, or set data.sequence_length to at most {}",
          spec.sources[j].files[0], tokens, name_of(spec.part), spec.holdout_every, sequence_length_, tokens);
  }
}

TokenSequence Dataset::sequence(int64_t number) const {
  check(number >= 0, "sequence {} was asked for", number);
  Blend::Choice choice{.source = 0, .number = number};
  int64_t count = sequence_length_, begin = 0;
  if (order_ == Order::kShuffled) {
    choice = blend_.choose(number);
    choice.number = orders_[choice.source](choice.number);
  } else {
    check(number < num_sequences_per_epoch(), "sequence {} was asked for, there are {}", number,
          num_sequences_per_epoch());
    count = std::min(count, total_tokens() - number * sequence_length_);
  }
  check(!__builtin_mul_overflow(choice.number, sequence_length_, &begin),
        "sequence {} of {} tokens overflows 64 bits", number, sequence_length_);
  TokenSequence sequence;
  sequence.tokens.reserve(static_cast<size_t>(count));
  for (const DocumentPiece& piece : streams_[choice.source].pieces(begin, count))
    append_piece(piece, sequence);
  return sequence;
}

void Dataset::append_piece(const DocumentPiece& piece, TokenSequence& sequence) const {
  const Source& source = source_of(piece.document);
  const int64_t local = source.documents[static_cast<size_t>(piece.document - source.first_document)];
  const size_t begin = sequence.tokens.size();
  sequence.tokens.resize(begin + static_cast<size_t>(piece.length));
  source.tokens->read(local, piece.offset, piece.length, sequence.tokens.data() + begin);
  for (int64_t i = 0; i < piece.length; ++i) {
    const int32_t token = sequence.tokens[begin + static_cast<size_t>(i)];
    if (token < 0 || token >= vocabulary_size_) [[unlikely]] {
      raise(ErrorKind::kData, "{}: token {} is {}, but the vocabulary has {} tokens",
            source.tokens->document_name(local), piece.offset + i, token, vocabulary_size_);
    }
  }
  if (packing_ == Packing::kDocuments || sequence.documents.empty()) {
    sequence.documents.push_back({.begin = static_cast<int64_t>(begin),
                                  .length = piece.length,
                                  .document = piece.document,
                                  .offset_in_document = piece.offset});
  } else {
    DocumentSpan& whole = sequence.documents.front();
    whole = {.begin = 0, .length = whole.length + piece.length};
  }
}

int64_t Dataset::num_sequences_per_epoch() const {
  return (total_tokens() - 1) / sequence_length_ + 1;
}

int64_t Dataset::total_tokens() const {
  int64_t total = 0;
  for (const DocumentStream& stream : streams_) total += stream.num_tokens();
  return total;
}

int64_t Dataset::num_documents() const {
  return sources_.back().first_document + static_cast<int64_t>(sources_.back().documents.size());
}

const Dataset::Source& Dataset::source_of(int64_t document) const {
  check(0 <= document && document < num_documents(), "document {} was asked for, there are {}", document,
        num_documents());
  const auto after =
      std::upper_bound(sources_.begin(), sources_.end(), document,
                       [](int64_t d, const Source& source) { return d < source.first_document; });
  return *(after - 1);
}

std::string Dataset::document_name(int64_t document) const {
  const Source& source = source_of(document);
  return source.tokens->document_name(
      source.documents[static_cast<size_t>(document - source.first_document)]);
}

int64_t Dataset::document_tokens(int64_t document) const {
  const Source& source = source_of(document);
  return source.tokens->document_tokens(
      source.documents[static_cast<size_t>(document - source.first_document)]);
}

uint32_t Dataset::fingerprint() const {
  constexpr int64_t kMostSampled = 4096;  // documents whose tokens are looked at, so that a large corpus opens quickly
  constexpr int64_t kSampleTokens = 256;  // at each end
  const int64_t step = (num_documents() + kMostSampled - 1) / kMostSampled;
  uint32_t crc = 0;
  int64_t number = 0;
  std::array<int32_t, kSampleTokens> sample;
  for (const Source& source : sources_) {
    for (const uint32_t i : source.documents) {
      const int64_t tokens = source.tokens->document_tokens(i);
      crc = crc32c(std::as_bytes(std::span(&tokens, 1)), crc);
      if (number++ % step != 0) continue;
      const int64_t count = std::min(tokens, kSampleTokens);
      for (const int64_t offset : {int64_t{0}, tokens - count}) {
        source.tokens->read(i, offset, count, sample.data());
        crc = crc32c(std::as_bytes(std::span(sample).first(static_cast<size_t>(count))), crc);
      }
    }
  }
  return crc;
}

std::optional<double> Dataset::bytes_per_token() const {
  if (format_ == DataFormat::kText) return 1.0;
  return std::nullopt;
}

Dataset open_dataset(const DataSpec& spec, uint64_t seed, int64_t vocabulary_size, Order order) {
  return Dataset(spec, seed, vocabulary_size, order);
}

}  // namespace longspan
