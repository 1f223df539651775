// Backward on bfloat16 keeps p times a factor of the key's, and divides the key's dV by it at the end.
//
// Rounding to 8 bits is coarsest just above a power of two. Queries that spread over n keys, n a power of two or a little less,
// have most of their p there, and where they spread evenly all p are even off by the same: both cost more than rounding the
// inputs does. With factors that spread over [1, 2), whatever p is, it is rounded as numbers of any size are.
#pragma once

#include <array>
#include <cstdint>

namespace longspan {

constexpr int64_t kKeyFactors = 128;  // of the keys of a block

consteval std::array<float, kKeyFactors> make_key_factors() {
  constexpr double kStep = 1.53478225;  // 2^(the golden ratio): any few in a row are far apart
  std::array<float, kKeyFactors> factors = {};
  double factor = 1;
  for (float& one : factors) {
    one = static_cast<float>(factor);
    factor *= kStep;
    if (factor >= 2) factor /= 2;
  }
  return factors;
}

// By the key's place in its block; the first is 1.
alignas(64) inline constexpr std::array<float, kKeyFactors> kFactorOfKey = make_key_factors();

}  // namespace longspan
