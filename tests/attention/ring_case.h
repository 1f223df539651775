// A problem as ring attention hands it to the kernels: the shares of several ranks in any layout, any head groups, documents
// and masks, strides and threads, forward and backward resumed hop by hop; and its answer in double precision over the whole
// sequence at once. Shared by a seeded test and a fuzz target, so it knows no test framework.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "attention/kernels/index_range.h"
#include "tests/attention/context_makers.h"
#include "tests/attention/exact_attention.h"

namespace longspan::test {

struct RingCase {
  enum class Mask { kCausal, kFull, kWindow, kScattered };
  enum class Logits { kPlain, kSmall, kLarge, kGrowing, kOutliers };
  std::vector<IndexRanges> shares;  // of the ranks; together every index once
  std::vector<IndexInterval> visible;  // by index: the keys it sees
  int64_t num_heads = 1, num_kv_heads = 1, head_dim = 1;
  int64_t extra_heads = 0, extra_elements = 0;  // of each tensor's rows, between what is used
  int num_threads = 1;
  Logits logits = Logits::kPlain;
  uint64_t seed = 0;
  std::string text;  // how it was drawn

  int64_t num_tokens() const { return static_cast<int64_t>(visible.size()); }
};

// A number below the bound, which is not 0.
using Draw = std::function<uint64_t(uint64_t bound)>;
RingCase draw_ring_case(const Draw& draw);

// Runs the case with each maker in each precision. Empty if all is within rounding of the answer; else the first number that
// is not.
std::string find_ring_error(const RingCase& ring);

}  // namespace longspan::test
