#include <fmt/core.h>

#include <algorithm>

#include "attention/sequence_layout.h"
#include "tests/attention/ring_case.h"

namespace longspan::test {

namespace {

int64_t between(const Draw& draw, int64_t least, int64_t most) {
  return least + static_cast<int64_t>(draw(static_cast<uint64_t>(most - least + 1)));
}

// Pieces of any length, each with any rank.
std::vector<IndexRanges> uneven_shares(const Draw& draw, int num_ranks, int64_t num_tokens) {
  std::vector<IndexRanges> shares(static_cast<size_t>(num_ranks));
  for (int64_t begin = 0; begin < num_tokens;) {
    const int64_t length = between(draw, 1, num_tokens - begin);
    shares[draw(static_cast<uint64_t>(num_ranks))].push_back({.start = begin, .stride = 1, .length = length});
    begin += length;
  }
  return shares;
}

void draw_shares(const Draw& draw, RingCase& ring, int64_t length, int64_t num_sequences) {
  const int num_ranks = static_cast<int>(between(draw, 1, 5));
  const auto kind = draw(4);
  if (kind == 3) {
    ring.shares = uneven_shares(draw, num_ranks, length * num_sequences);
    ring.text += fmt::format("{} uneven shares", num_ranks);
    return;
  }
  const SequenceLayout layout(static_cast<LayoutType>(kind), num_ranks, length, num_sequences);
  for (int rank = 0; rank < num_ranks; ++rank) ring.shares.push_back(layout.ranges(rank));
  ring.text += fmt::format("{} {} shares", num_ranks, name(static_cast<LayoutType>(kind)));
}

// Documents, each of which a mask is confined to; a sequence begins one.
std::vector<int64_t> draw_documents(const Draw& draw, int64_t length, int64_t num_sequences) {
  std::vector<int64_t> begins;
  for (int64_t s = 0; s < num_sequences; ++s) begins.push_back(s * length);
  const int64_t more = between(draw, 0, 4);
  for (int64_t i = 0; i < more; ++i) begins.push_back(between(draw, 0, length * num_sequences - 1));
  std::sort(begins.begin(), begins.end());
  begins.erase(std::unique(begins.begin(), begins.end()), begins.end());
  begins.push_back(length * num_sequences);
  return begins;
}

void draw_visible(const Draw& draw, RingCase& ring, int64_t length, int64_t num_sequences) {
  const auto begins = draw_documents(draw, length, num_sequences);
  const auto mask = static_cast<RingCase::Mask>(draw(4));
  const int64_t window = between(draw, 1, 100);
  for (size_t d = 0; d + 1 < begins.size(); ++d) {
    const int64_t begin = begins[d], end = begins[d + 1];
    for (int64_t i = begin; i < end; ++i) {
      switch (mask) {
        case RingCase::Mask::kCausal: ring.visible.push_back({begin, i + 1}); break;
        case RingCase::Mask::kFull: ring.visible.push_back({begin, end}); break;
        case RingCase::Mask::kWindow: ring.visible.push_back({std::max(begin, i - window), i + 1}); break;
        case RingCase::Mask::kScattered: {
          const int64_t low = between(draw, begin, end);
          ring.visible.push_back({low, between(draw, low, end)});  // often empty
          break;
        }
      }
    }
  }
  ring.text += fmt::format(", {} x {} tokens, {} documents, mask {}", num_sequences, length, begins.size() - 1,
                           static_cast<int>(mask));
}

}  // namespace

RingCase draw_ring_case(const Draw& draw) {
  RingCase ring;
  const int64_t num_sequences = between(draw, 1, 2), length = between(draw, 1, 140 / num_sequences);
  draw_shares(draw, ring, length, num_sequences);
  draw_visible(draw, ring, length, num_sequences);
  ring.num_kv_heads = between(draw, 1, 2);
  ring.num_heads = ring.num_kv_heads * between(draw, 1, 3);
  constexpr int64_t kUsualHeadDims[] = {16, 32, 64, 80, 96, 128};
  ring.head_dim = draw(2) == 0 ? kUsualHeadDims[draw(6)] : between(draw, 1, draw(4) == 0 ? 136 : 40);
  ring.extra_heads = between(draw, 0, 2);
  ring.extra_elements = between(draw, 0, 9);
  ring.num_threads = std::max(1, static_cast<int>(draw(5)) - 1);
  ring.logits = static_cast<RingCase::Logits>(draw(5));
  ring.seed = draw(1000);
  ring.text += fmt::format(", heads {}/{} x {}, {} and {} between, {} threads, logits {}, seed {}", ring.num_heads,
                           ring.num_kv_heads, ring.head_dim, ring.extra_heads, ring.extra_elements, ring.num_threads,
                           static_cast<int>(ring.logits), ring.seed);
  return ring;
}

}  // namespace longspan::test
