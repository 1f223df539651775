#include "core/base/cpu_level.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <array>
#include <string>

#include "core/base/error.h"

namespace longspan {

namespace {

constexpr std::array<std::string_view, 5> kNames = {"portable", "avx2", "avx512", "avx512_bf16", "amx"};

#if defined(__x86_64__)
struct CpuidLeaf {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  CpuidLeaf(unsigned leaf, unsigned subleaf) { __get_cpuid_count(leaf, subleaf, &eax, &ebx, &ecx, &edx); }
};

constexpr bool has_bit(unsigned bits, int i) { return (bits >> i & 1u) != 0; }

bool has_avx512_bf16() { return has_bit(CpuidLeaf(7, 1).eax, 5); }

// Linux hands out the eight kilobytes of tile registers on request, once for all threads of the process.
bool has_amx() {
  const CpuidLeaf features(7, 0);
  if (!has_bit(features.edx, 24) || !has_bit(features.edx, 22)) return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

CpuLevel highest_level() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return CpuLevel::kPortable;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (!avx512) return CpuLevel::kAvx2;
  if (!has_avx512_bf16()) return CpuLevel::kAvx512;
  return has_amx() ? CpuLevel::kAmx : CpuLevel::kAvx512Bf16;
}
bool dot_products_are_slow() { return __builtin_cpu_is("intel"); }
#else
CpuLevel highest_level() { return CpuLevel::kPortable; }
bool dot_products_are_slow() { return false; }
#endif

CpuLevel highest() {
  static const CpuLevel level = highest_level();
  return level;
}

}  // namespace

std::string_view name(CpuLevel level) { return kNames[static_cast<size_t>(level)]; }

std::vector<CpuLevel> supported_cpu_levels() {
  std::vector<CpuLevel> levels;
  for (size_t i = 0; i <= static_cast<size_t>(highest()); ++i) levels.push_back(static_cast<CpuLevel>(i));
  return levels;
}

bool runs_here(CpuLevel level) { return level <= highest(); }

CpuLevel detect_cpu_level() {
  if (highest() == CpuLevel::kAvx512Bf16 && dot_products_are_slow()) return CpuLevel::kAvx512;
  return highest();
}

void expect_runs_here(CpuLevel level) {
  if (runs_here(level)) return;
  std::string names;
  for (const CpuLevel one : supported_cpu_levels()) names.append(names.empty() ? "" : ", ").append(name(one));
  raise(ErrorKind::kConfiguration, "this machine runs {}, not {}", names, name(level));
}

}  // namespace longspan
