// The bfloat16 peaks: dot products of pairs in vectors (AVX512_BF16) and products of tiles (AMX).
#include <algorithm>
#include <cstdint>
#include <vector>

#include "launcher/peak.h"

namespace longspan {
namespace {

#if defined(__x86_64__)
// Written out, so that no compiler option is needed; called only where the processor has the instructions.
__attribute__((target("avx512f"), noinline)) double run_dot(int64_t repeats) {
  constexpr int kSums = 12;
  typedef float Vector __attribute__((vector_size(64)));
  Vector sum[kSums] = {}, x = Vector{} + 0.99f, y = Vector{} + 0.5f;
  for (int64_t n = 0; n < repeats; ++n) {
#pragma GCC unroll 12
    for (Vector& s : sum) asm volatile("vdpbf16ps %2, %1, %0" : "+v"(s) : "v"(x), "v"(y));
  }
  return 2.0 * 32 * kSums * static_cast<double>(repeats);
}

constexpr double kFlopsOfTiles = 2.0 * 16 * 16 * 32;

// Eight tiles of 16 rows of 64 bytes; all are zero afterwards.
void configure_tiles() {
  struct alignas(64) {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } config;
  asm volatile("ldtilecfg %0" ::"m"(config));
}

double run_tiles(int64_t repeats) {
  for (int64_t n = 0; n < repeats; ++n) {
    asm volatile(
        "tdpbf16ps %tmm6, %tmm4, %tmm0\n\ttdpbf16ps %tmm7, %tmm4, %tmm1\n\t"
        "tdpbf16ps %tmm6, %tmm5, %tmm2\n\ttdpbf16ps %tmm7, %tmm5, %tmm3");
  }
  return 4 * kFlopsOfTiles * static_cast<double>(repeats);
}

// Two tiles of either operand are loaded for every four products; `tiles` are 2 x 4 of them, in turn.
double run_loaded_tiles(int64_t repeats, const uint16_t* tiles) {
  constexpr int64_t kTile = 512;
  for (int64_t n = 0; n < repeats; ++n) {
    const uint16_t* a = tiles + (n & 1) * 4 * kTile;
    asm volatile(
        "tileloadd (%0,%4,1), %%tmm4\n\ttileloadd (%2,%4,1), %%tmm6\n\ttdpbf16ps %%tmm6, %%tmm4, %%tmm0\n\t"
        "tileloadd (%1,%4,1), %%tmm5\n\ttdpbf16ps %%tmm6, %%tmm5, %%tmm2\n\t"
        "tileloadd (%3,%4,1), %%tmm7\n\ttdpbf16ps %%tmm7, %%tmm4, %%tmm1\n\ttdpbf16ps %%tmm7, %%tmm5, %%tmm3"
        :
        : "r"(a), "r"(a + kTile), "r"(a + 2 * kTile), "r"(a + 3 * kTile), "r"(int64_t{64})
        : "memory");
  }
  return 4 * kFlopsOfTiles * static_cast<double>(repeats);
}

// bfloat16 of either sign between 0.5 and 2, every bit of the mantissa at random.
std::vector<uint16_t> random_tiles() {
  std::vector<uint16_t> tiles(8 * 512);
  uint32_t state = 1;
  for (uint16_t& value : tiles) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<uint16_t>((state >> 16 & 0x80ffu) | 0x3f00u);
  }
  return tiles;
}

double best_gflops(const std::function<double()>& run) {
  double best = 0;
  for (int i = 0; i < 9; ++i) {
    const double start = thread_cpu_seconds();
    const double flops = run();
    best = std::max(best, flops / (thread_cpu_seconds() - start) * 1e-9);
  }
  return best;
}
#endif

}  // namespace

double measure_dot_peak(int num_threads) {
#if defined(__x86_64__)
  if (!runs_here(CpuLevel::kAvx512Bf16)) return 0;
  return average_of_threads(num_threads, [] { return best_gflops([] { return run_dot(500000); }); });
#else
  static_cast<void>(num_threads);
  return 0;
#endif
}

double measure_amx_peak(int num_threads, AmxOperands operands) {
#if defined(__x86_64__)
  if (!runs_here(CpuLevel::kAmx)) return 0;
  return average_of_threads(num_threads, [operands] {
    constexpr int64_t kRepeats = 100000;
    const std::vector<uint16_t> tiles = random_tiles();
    configure_tiles();
    const double best = best_gflops([&] {
      return operands == AmxOperands::kRegisters ? run_tiles(kRepeats) : run_loaded_tiles(kRepeats, tiles.data());
    });
    asm volatile("tilerelease");
    return best;
  });
#else
  static_cast<void>(num_threads);
  static_cast<void>(operands);
  return 0;
#endif
}

}  // namespace longspan
