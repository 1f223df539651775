#include "parallel/pipeline/placement.h"

#include <algorithm>
#include <limits>

#include "core/base/error.h"

namespace longspan {

namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

// best[k][i]: the least value for the first i blocks in k runs; value(value of the runs before, cost of this
// run).
class ChainCutter {
 public:
  ChainCutter(const std::vector<double>& costs, int num_parts)
      : num_blocks_(static_cast<int>(costs.size())), num_parts_(num_parts) {
    sums_.push_back(0);
    for (double cost : costs) sums_.push_back(sums_.back() + cost);
  }

  template <class Value>
  double cut(const Value& value) {
    const auto width = static_cast<size_t>(num_blocks_) + 1;
    std::vector<double> before(width, kNever);
    before[0] = 0;
    begins_.assign(static_cast<size_t>(num_parts_), std::vector<int>(width, 0));
    for (int part = 0; part < num_parts_; ++part) {
      std::vector<double> best(width, kNever);
      for (int end = part + 1; end <= num_blocks_; ++end) {
        for (int begin = part; begin < end; ++begin) {
          const double run = sums_[static_cast<size_t>(end)] - sums_[static_cast<size_t>(begin)];
          const double candidate = value(before[static_cast<size_t>(begin)], run);
          if (!(candidate < best[static_cast<size_t>(end)])) continue;
          best[static_cast<size_t>(end)] = candidate;
          begins_[static_cast<size_t>(part)][static_cast<size_t>(end)] = begin;
        }
      }
      before = best;
    }
    return before.back();
  }

  std::vector<int> bounds() const {
    std::vector<int> bounds = {num_blocks_};
    for (int part = num_parts_; part-- > 0;) {
      bounds.push_back(begins_[static_cast<size_t>(part)][static_cast<size_t>(bounds.back())]);
    }
    std::reverse(bounds.begin(), bounds.end());
    return bounds;
  }

 private:
  int num_blocks_, num_parts_;
  std::vector<double> sums_;
  std::vector<std::vector<int>> begins_;  // [part][end]: where the part that ends there begins
};

}  // namespace

int Placement::chunk_of(int block) const {
  const auto after =
      std::upper_bound(chunks.begin(), chunks.end(), block, [](int b, const PlacedChunk& chunk) { return b < chunk.end; });
  check(block >= 0 && after != chunks.end(), "block {} is in none of the chunks of {} blocks", block, num_blocks());
  return static_cast<int>(after - chunks.begin());
}

std::vector<int> Placement::chunks_of(int rank) const {
  std::vector<int> own;
  for (size_t c = 0; c < chunks.size(); ++c) {
    if (chunks[c].rank == rank) own.push_back(static_cast<int>(c));
  }
  return own;
}

std::vector<int> Placement::blocks_of(int rank) const {
  std::vector<int> own;
  for (int chunk : chunks_of(rank)) {
    for (int b = chunks[static_cast<size_t>(chunk)].begin; b < chunks[static_cast<size_t>(chunk)].end; ++b) own.push_back(b);
  }
  return own;
}

Placement single_rank_placement(int num_blocks) {
  return {.num_ranks = 1, .chunks = {{0, 0, num_blocks}}};
}

std::vector<int> split_chain(const std::vector<double>& costs, int num_parts) {
  check(num_parts >= 1, "a chain is not cut into {} parts", num_parts);
  for (double cost : costs) check(cost >= 0 && cost < kNever, "{} is no cost of a block", cost);
  if (static_cast<int>(costs.size()) < num_parts) {
    raise(ErrorKind::kConfiguration, "{} blocks do not fill {} pipeline chunks; use {} or fewer", costs.size(), num_parts,
          costs.size());
  }
  ChainCutter cutter(costs, num_parts);
  const double largest = cutter.cut([](double before, double run) { return std::max(before, run); });
  cutter.cut([largest](double before, double run) { return run > largest ? kNever : before + run * run; });
  return cutter.bounds();
}

Placement place_blocks(const std::vector<double>& costs, int num_ranks, int chunks_per_rank, ChunkOrder order) {
  check(num_ranks >= 1 && chunks_per_rank >= 1, "{} pipeline ranks with {} chunks each", num_ranks, chunks_per_rank);
  if (order == ChunkOrder::kVShape && chunks_per_rank != 2) {
    raise(ErrorKind::kConfiguration, "a placement in the shape of a V has 2 chunks a rank, not {}; use 2", chunks_per_rank);
  }
  const int num_blocks = static_cast<int>(costs.size()), num_chunks = num_ranks * chunks_per_rank;
  if (num_blocks < num_chunks && num_blocks >= num_ranks) {
    raise(ErrorKind::kConfiguration, "{} blocks do not fill {} pipeline ranks with {} chunks each; use {} chunks or fewer",
          num_blocks, num_ranks, chunks_per_rank, num_blocks / num_ranks);
  }
  const std::vector<int> bounds = split_chain(costs, num_chunks);
  Placement placement{.num_ranks = num_ranks, .chunks = {}};
  for (int c = 0; c < num_chunks; ++c) {
    const bool returns = order == ChunkOrder::kVShape && c >= num_ranks;
    placement.chunks.push_back(
        {returns ? num_chunks - 1 - c : c % num_ranks, bounds[static_cast<size_t>(c)], bounds[static_cast<size_t>(c) + 1]});
  }
  return placement;
}

}  // namespace longspan
