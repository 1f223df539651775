// CpuLevel: the instruction sets that the vectorised host kernels are compiled for (longspan_cpu_kernels), and which of
// them this machine runs. The kernels of a level live in the namespace of its name: longspan::avx512 ...
#pragma once

#include <string_view>
#include <vector>

namespace longspan {

enum class CpuLevel {
  kPortable,  // what the compiler assumes anyway
  kAvx2,      // AVX2, FMA, F16C
  kAvx512,    // AVX-512 F, BW, DQ, VL
};

std::string_view name(CpuLevel level);
// The best this machine runs, by CPUID and by what the operating system saves.
CpuLevel detect_cpu_level();
// All that this machine runs, kPortable first.
std::vector<CpuLevel> supported_cpu_levels();

}  // namespace longspan
