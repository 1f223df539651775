// Random packed sequences for tests.
#pragma once

#include <algorithm>
#include <vector>

#include "core/base/random.h"
#include "train/data/dataset.h"

namespace longspan::test {

// Documents that begin and end anywhere in [0, length): increasing, the first 0.
inline std::vector<int64_t> random_document_begins(const RandomStream& random, int64_t length, int64_t num_documents) {
  std::vector<int64_t> begins = {0};
  for (int64_t i = 1; i < num_documents && length > 1; ++i) {
    begins.push_back(1 + static_cast<int64_t>(random.below(static_cast<uint64_t>(i), static_cast<uint64_t>(length - 1))));
  }
  std::sort(begins.begin(), begins.end());
  begins.erase(std::unique(begins.begin(), begins.end()), begins.end());
  return begins;
}

inline TokenSequence random_sequence(uint64_t seed, int64_t length, int64_t num_documents, int64_t vocabulary_size) {
  const RandomStream tokens(seed, "tokens"), documents(seed, "documents");
  TokenSequence sequence;
  for (int64_t i = 0; i < length; ++i) {
    sequence.tokens.push_back(static_cast<int32_t>(
        tokens.below(static_cast<uint64_t>(i), static_cast<uint64_t>(vocabulary_size))));
  }
  const auto begins = random_document_begins(documents, length, num_documents);
  for (size_t d = 0; d < begins.size(); ++d) {
    const int64_t end = d + 1 < begins.size() ? begins[d + 1] : length;
    sequence.documents.push_back({.begin = begins[d], .length = end - begins[d], .document = static_cast<int64_t>(d)});
  }
  return sequence;
}

}  // namespace longspan::test
