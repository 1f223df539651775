#include "attention/kernels/index_range.h"

#include <cstddef>

namespace longspan {

int64_t num_tokens(const IndexRanges& ranges) {
  int64_t n = 0;
  for (const IndexRange& range : ranges) n += range.length;
  return n;
}

std::vector<int64_t> indices(const IndexRanges& ranges) {
  std::vector<int64_t> all;
  all.reserve(static_cast<size_t>(num_tokens(ranges)));
  for (const IndexRange& range : ranges) {
    for (int64_t i = 0; i < range.length; ++i) all.push_back(range[i]);
  }
  return all;
}

}  // namespace longspan
