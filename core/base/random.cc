#include "core/base/random.h"

#include <cmath>
#include <numbers>

namespace longspan {

namespace {
__extension__ using Wide = unsigned __int128;
}

std::array<uint32_t, 4> philox4x32(uint64_t key, uint64_t counter_low, uint64_t counter_high) {
  constexpr uint32_t kMul0 = 0xD2511F53u, kMul1 = 0xCD9E8D57u, kWeyl0 = 0x9E3779B9u, kWeyl1 = 0xBB67AE85u;
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  std::array<uint32_t, 4> c = {static_cast<uint32_t>(counter_low), static_cast<uint32_t>(counter_low >> 32),
                               static_cast<uint32_t>(counter_high), static_cast<uint32_t>(counter_high >> 32)};
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(kMul0) * c[0], p1 = static_cast<uint64_t>(kMul1) * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += kWeyl0;
    k1 += kWeyl1;
  }
  return c;
}

RandomStream::RandomStream(uint64_t seed, std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325ull;  // FNV-1a over the name, mixed with the seed by one Philox block
  for (unsigned char c : name) hash = (hash ^ c) * 0x100000001b3ull;
  const auto r = philox4x32(seed, hash, name.size());
  key_ = static_cast<uint64_t>(r[1]) << 32 | r[0];
}

uint64_t RandomStream::bits(uint64_t index) const {
  const auto r = philox4x32(key_, index, 0);
  return static_cast<uint64_t>(r[1]) << 32 | r[0];
}

double RandomStream::uniform(uint64_t index) const { return static_cast<double>(bits(index) >> 11) * 0x1p-53; }

double RandomStream::normal(uint64_t index) const {
  const auto r = philox4x32(key_, index, 1);
  const double u = (static_cast<double>(r[0]) + 1.0) * 0x1p-32;  // in (0, 1]
  const double v = static_cast<double>(r[1]) * 0x1p-32;
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
}

uint64_t RandomStream::below(uint64_t index, uint64_t bound) const {
  return static_cast<uint64_t>((static_cast<Wide>(bits(index)) * bound) >> 64);
}

}  // namespace longspan
