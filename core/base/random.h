// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11).
// A value is a pure function of (key, counter), so any rank, any sharding and any recomputation replays it.
// The transforms are our own: `std::` distributions differ between libraries.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace longspan {

std::array<uint32_t, 4> philox4x32(uint64_t key, uint64_t counter_low, uint64_t counter_high);

class RandomStream {
 public:
  // Streams of different seed or name are independent.
  RandomStream(uint64_t seed, std::string_view name);
  explicit RandomStream(uint64_t key) : key_(key) {}

  uint64_t bits(uint64_t index) const;                       // 64 random bits
  double uniform(uint64_t index) const;                      // in [0, 1), 53 bits
  double normal(uint64_t index) const;                       // Box-Muller, mean 0, variance 1
  uint64_t below(uint64_t index, uint64_t bound) const;      // in [0, bound), bound > 0; bias below 2^-64 * bound

 private:
  uint64_t key_;
};

}  // namespace longspan
