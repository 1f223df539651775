#include "core/base/cache_size.h"

#include <algorithm>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace longspan {

namespace {

#if defined(__x86_64__)
// The largest cache in a leaf of CPUID's cache parameters: Intel has them in leaf 4, AMD in 0x8000001d. Not sysconf, which
// gives some AMD processors ten times what they have.
size_t largest_cache(unsigned leaf) {
  constexpr unsigned kMostCaches = 8;
  size_t largest = 0;
  for (unsigned i = 0; i < kMostCaches; ++i) {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid_count(leaf, i, &a, &b, &c, &d) || (a & 31) == 0) break;
    const size_t ways = (b >> 22) + 1, partitions = (b >> 12 & 1023) + 1, line = (b & 4095) + 1, sets = size_t{c} + 1;
    largest = std::max(largest, ways * partitions * line * sets);
  }
  return largest;
}
#endif

size_t measure() {
  constexpr size_t kUsual = size_t{32} << 20, kMost = size_t{64} << 20;
  size_t found = 0;
#if defined(__x86_64__)
  found = std::max(largest_cache(4), largest_cache(0x8000001d));
#endif
  return found == 0 ? kUsual : std::min(found, kMost);
}

}  // namespace

size_t last_level_cache_bytes() {
  static const size_t bytes = measure();
  return bytes;
}

}  // namespace longspan
