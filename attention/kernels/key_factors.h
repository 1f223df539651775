// Backward on bfloat16 keeps p times a factor of the key's, and divides the key's dV by it at the end.
//
// Rounding to 8 bits is coarsest just above a power of two. Queries that spread over n keys, n a power of two or a little less,
// have most of their p there, and where they spread evenly all p are even off by the same: both cost more than rounding the
// inputs does. With factors that spread over [1, 2), whatever p is, it is rounded as numbers of any size are.
//
// A key that few queries see may meet p that are powers of two alone, of queries that see one key, two, or four. So factors
// are a quarter of their eighth bit away from numbers of 8 bits: then these p are off by less than others are, and so, by no
// more than others, are p that all lie a little beside a power of two.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace longspan {

constexpr int64_t kKeyFactors = 128;  // of the keys of a block

consteval std::array<float, kKeyFactors> make_key_factors() {
  constexpr double kStep = 1.74;  // of many that were tried, the one whose worst p is the least bad
  std::array<float, kKeyFactors> factors = {1};
  double factor = 1, quarter = 0.25;
  for (size_t i = 1; i < factors.size(); ++i) {
    factor *= factor * kStep < 2 ? kStep : kStep / 2;
    quarter = -quarter;
    factors[i] = static_cast<float>((static_cast<int>(factor * 128) + quarter) / 128);
  }
  return factors;
}

// By the key's place in its block; the first is 1.
alignas(64) inline constexpr std::array<float, kKeyFactors> kFactorOfKey = make_key_factors();

}  // namespace longspan
