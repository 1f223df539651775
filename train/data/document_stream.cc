#include "train/data/document_stream.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "core/base/error.h"
#include "core/base/random.h"

namespace longspan {

DocumentStream::DocumentStream(std::vector<int64_t> lengths, int64_t first_document, Shuffle shuffle,
                               uint64_t seed, const std::string& name)
    : lengths_(std::move(lengths)),
      first_document_(first_document),
      shuffle_(shuffle),
      seed_(seed),
      name_(name) {
  check(!lengths_.empty(), "the stream {} has no documents", name_);
  check(lengths_.size() <= std::numeric_limits<uint32_t>::max(),
        "the stream {} has {} documents; 2^32 - 1 are the most", name_, lengths_.size());
  for (const int64_t length : lengths_) {
    check(length > 0, "a document of the stream {} has {} tokens", name_, length);
    check(!__builtin_add_overflow(num_tokens_, length, &num_tokens_),
          "the tokens of the stream {} overflow 64 bits", name_);
  }
}

std::shared_ptr<const DocumentStream::Epoch> DocumentStream::epoch(int64_t number) const {
  if (shuffle_ == Shuffle::kNo) number = 0;  // all epochs are alike
  for (const auto& known : epochs_) {
    if (known->number == number) return known;
  }
  auto made = std::make_shared<Epoch>();
  made->number = number;
  made->order.resize(lengths_.size());
  std::iota(made->order.begin(), made->order.end(), 0u);
  if (shuffle_ == Shuffle::kEveryEpoch) {
    const RandomStream random(seed_, fmt::format("{}/epoch {}", name_, number));
    for (size_t i = lengths_.size() - 1; i > 0; --i)
      std::swap(made->order[i], made->order[random.below(i, i + 1)]);
  }
  made->begins.reserve(lengths_.size());
  int64_t begin = 0;
  for (const uint32_t document : made->order) {
    made->begins.push_back(begin);
    begin += lengths_[document];
  }
  if (epochs_.size() == 2) epochs_.erase(epochs_.begin());
  epochs_.push_back(made);
  return made;
}

std::vector<DocumentPiece> DocumentStream::pieces(int64_t begin, int64_t count) const {
  int64_t end = 0;
  check(begin >= 0 && count >= 0 && !__builtin_add_overflow(begin, count, &end),
        "tokens [{}, {} + {}) of the stream {}", begin, begin, count, name_);
  std::vector<DocumentPiece> pieces;
  for (int64_t position = begin; position < end;) {
    const int64_t number = position / num_tokens_, within = position % num_tokens_;
    const auto order = epoch(number);
    // The last document that begins at `within` or before it.
    const auto after = std::upper_bound(order->begins.begin(), order->begins.end(), within);
    for (auto i = static_cast<size_t>(after - order->begins.begin()) - 1;
         i < order->order.size() && position < end; ++i) {
      const uint32_t document = order->order[i];
      const int64_t offset = position - number * num_tokens_ - order->begins[i];
      const int64_t length = std::min(lengths_[document] - offset, end - position);
      pieces.push_back({.document = first_document_ + document, .offset = offset, .length = length});
      position += length;
    }
  }
  return pieces;
}

}  // namespace longspan
