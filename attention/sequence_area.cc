#include "attention/sequence_area.h"

#include <algorithm>
#include <numeric>

#include "core/base/error.h"

namespace longspan {

namespace {

double as_double(int64_t value) { return static_cast<double>(value); }

// Pairs of the queries at these indices.
double area_of(Masking masking, const IndexRange& range, int64_t total_tokens, const std::vector<int64_t>& begins) {
  double area = 0;
  for (int64_t i = 0; i < range.length;) {
    const auto next = std::upper_bound(begins.begin(), begins.end(), range[i]);
    const int64_t begin = *std::prev(next), end = next == begins.end() ? total_tokens : *next;
    // Of the range's indices, these are in the document.
    const int64_t count = std::min(range.length - i, (end - range[i] + range.stride - 1) / range.stride);
    const double queries = as_double(count);
    area += masking == Masking::kFull
                ? queries * as_double(end - begin)
                : queries * as_double(range[i] - begin + 1) + as_double(range.stride) * (queries * (queries - 1) / 2);
    i += count;
  }
  return area;
}

struct Chunk {
  IndexRange range;
  double area;
};

std::vector<Chunk> chunks_of(const AreaOptions& options, int64_t count, int64_t total_tokens,
                             const std::vector<int64_t>& begins) {
  std::vector<Chunk> chunks;
  for (int64_t i = 0, begin = 0; i < count; ++i) {
    const int64_t length = total_tokens / count + (i < total_tokens % count ? 1 : 0);
    const IndexRange range = {.start = begin, .stride = 1, .length = length};
    chunks.push_back({range, area_of(options.masking, range, total_tokens, begins)});
    begin += length;
  }
  return chunks;
}

// As many for each rank as the options say; else so many that none is too large for areas to become even.
std::vector<Chunk> chunks_of(const AreaOptions& options, int64_t total_tokens, const std::vector<int64_t>& begins) {
  constexpr int kFewest = 8, kMost = 32;
  const int64_t num_ranks = options.num_ranks;
  if (options.chunks_per_rank > 0) return chunks_of(options, num_ranks * options.chunks_per_rank, total_tokens, begins);
  for (int64_t per_rank = kFewest;; per_rank *= 2) {
    std::vector<Chunk> chunks = chunks_of(options, num_ranks * per_rank, total_tokens, begins);
    double largest = 0, sum = 0;
    for (const Chunk& chunk : chunks) {
      largest = std::max(largest, chunk.area);
      sum += chunk.area;
    }
    if (per_rank == kMost || 2 * largest * options.num_ranks <= sum) return chunks;
  }
}

struct Share {
  std::vector<Chunk> chunks;
  double area = 0;
};

// The rank that a chunk goes to: of those with room, the one with the least area.
Share& emptiest(std::vector<Share>& shares, size_t room) {
  Share* best = nullptr;
  for (Share& share : shares) {
    if (share.chunks.size() < room && (!best || share.area < best->area)) best = &share;
  }
  return *best;
}

// Changes one chunk of the largest share for one of another, so that the larger of the two areas falls most. False: none does.
bool improve(std::vector<Share>& shares) {
  Share& most = *std::max_element(shares.begin(), shares.end(), [](const Share& a, const Share& b) { return a.area < b.area; });
  double best = most.area;
  Chunk *give = nullptr, *take = nullptr;
  Share* with = nullptr;
  for (Share& other : shares) {
    if (&other == &most) continue;
    for (Chunk& a : most.chunks) {
      for (Chunk& b : other.chunks) {
        const double moved = a.area - b.area, larger = std::max(most.area - moved, other.area + moved);
        if (moved > 0 && larger < best) {
          best = larger;
          give = &a;
          take = &b;
          with = &other;
        }
      }
    }
  }
  if (!with) return false;
  const double moved = give->area - take->area;
  most.area -= moved;
  with->area += moved;
  std::swap(*give, *take);
  return true;
}

}  // namespace

std::vector<double> areas(Masking masking, const SequenceLayout& layout, const std::vector<int64_t>& document_begins) {
  std::vector<double> of_ranks;
  for (int rank = 0; rank < layout.num_ranks(); ++rank) {
    double area = 0;
    for (const IndexRange& range : layout.ranges(rank)) {
      area += area_of(masking, range, layout.total_tokens(), document_begins);
    }
    of_ranks.push_back(area);
  }
  return of_ranks;
}

double imbalance(const std::vector<double>& areas) {
  const double sum = std::accumulate(areas.begin(), areas.end(), 0.0);
  if (sum == 0) return 1;
  return *std::max_element(areas.begin(), areas.end()) * static_cast<double>(areas.size()) / sum;
}

SequenceLayout layout_by_area(const AreaOptions& options, int64_t total_tokens,
                              const std::vector<int64_t>& document_begins) {
  check(options.num_ranks >= 1 && options.chunks_per_rank >= 0, "{} chunks for each of {} ranks", options.chunks_per_rank,
        options.num_ranks);
  std::vector<Chunk> chunks = chunks_of(options, total_tokens, document_begins);
  std::stable_sort(chunks.begin(), chunks.end(), [](const Chunk& a, const Chunk& b) { return a.area > b.area; });
  std::vector<Share> shares(static_cast<size_t>(options.num_ranks));
  const size_t room = chunks.size() / shares.size();
  for (const Chunk& chunk : chunks) {
    Share& share = emptiest(shares, room);
    share.area += chunk.area;
    share.chunks.push_back(chunk);
  }
  // Each change lowers an area, so this ends; that many are enough to come near the end.
  for (size_t i = 0; i < 4 * chunks.size() && improve(shares); ++i) {
  }
  std::vector<IndexRanges> ranges;
  for (Share& share : shares) {
    IndexRanges of_rank;
    for (const Chunk& chunk : share.chunks) {
      if (chunk.range.length > 0) of_rank.push_back(chunk.range);
    }
    std::sort(of_rank.begin(), of_rank.end(), [](const IndexRange& a, const IndexRange& b) { return a.start < b.start; });
    ranges.push_back(std::move(of_rank));
  }
  return SequenceLayout(std::move(ranges));
}

SequenceLayout lay_out(LayoutType type, int num_ranks, const BatchShape& batch, const std::vector<int64_t>& document_begins) {
  if (type != LayoutType::kArea) return SequenceLayout(type, num_ranks, batch.sequence_length, batch.num_sequences);
  return layout_by_area({.num_ranks = num_ranks}, batch.sequence_length * batch.num_sequences, document_begins);
}

std::vector<double> areas_of_batch(LayoutType type, int num_ranks, const BatchShape& batch) {
  std::vector<int64_t> begins;
  for (int64_t i = 0; i < batch.num_sequences; ++i) begins.push_back(i * batch.sequence_length);
  return areas(Masking::kCausal, lay_out(type, num_ranks, batch, begins), begins);
}

}  // namespace longspan
