// CpuLevel: the instruction sets that the vectorised host kernels are compiled for (longspan_cpu_kernels), and which of
// them this machine runs. The kernels of a level live in the namespace of its name: longspan::avx512 ...
#pragma once

#include <string_view>
#include <vector>

namespace longspan {

// Each contains those before it. The last two multiply bfloat16 by bfloat16; what has no kernel of theirs runs as kAvx512.
enum class CpuLevel {
  kPortable,    // what the compiler assumes anyway
  kAvx2,        // AVX2, FMA, F16C
  kAvx512,      // AVX-512 F, BW, DQ, VL
  kAvx512Bf16,  // and AVX512_BF16: dot products of pairs in a vector
  kAmx,         // and AMX-TILE, AMX-BF16: products of tiles
};

std::string_view name(CpuLevel level);  // "portable" ... "avx512_bf16", "amx"

// All that this machine runs, by CPUID and by what the operating system saves and permits; kPortable first.
std::vector<CpuLevel> supported_cpu_levels();
bool runs_here(CpuLevel level);
// The fastest of them. Of Intel's processors without AMX that is kAvx512 even where they have AVX512_BF16, whose dot products
// take as long as two multiply-adds there.
CpuLevel detect_cpu_level();
// Raises Error(kConfiguration) naming what this machine runs.
void expect_runs_here(CpuLevel level);

// Of several levels, the one whose vectors `level` uses: at most kAvx512.
constexpr CpuLevel vector_level(CpuLevel level) { return level < CpuLevel::kAvx512 ? level : CpuLevel::kAvx512; }

}  // namespace longspan
