#include "tests/attention/context_makers.h"
#include "tests/support/emulated_attention.h"

namespace longspan::test {

namespace {

// Relative error of the polynomial for 2^x: the most over [0, 1), in exact arithmetic; rounding adds some 1e-7.
constexpr double kDotExponential = 2.7e-6;

std::vector<ContextMaker> all_makers() {
  std::vector<ContextMaker> makers;
  for (const CpuLevel level : supported_cpu_levels()) {
    ContextMaker& maker = makers.emplace_back();
    maker.name = name(level);
    maker.make = [level](DType dtype, int num_threads) { return level_context(level, dtype, num_threads); };
    maker.in_tiles = level == CpuLevel::kAmx;
    if (level == CpuLevel::kAvx512Bf16) maker.bfloat16 = rounding_with(kDotExponential);
    if (maker.in_tiles) maker.bfloat16 = rounding_in_tiles();
  }
  if (has_emulated_tiles()) {
    ContextMaker& maker = makers.emplace_back();
    maker.name = "amx_emulated";
    maker.make = [](DType dtype, int num_threads) { return emulated_tile_context(dtype, num_threads); };
    maker.bfloat16 = rounding_in_tiles();
    maker.in_tiles = maker.only_bfloat16 = true;
  }
  return makers;
}

}  // namespace

const std::vector<ContextMaker>& context_makers() {
  static const std::vector<ContextMaker> makers = all_makers();
  return makers;
}

}  // namespace longspan::test
