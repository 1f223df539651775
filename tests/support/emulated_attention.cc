#include "tests/support/emulated_attention.h"

#include <stdexcept>
#include <string>

#include "core/base/cpu_level.h"
#include "tests/support/emulated_tiles.h"

namespace longspan::test {

void refuse_tiles(const char* what) { throw std::logic_error(std::string("tile unit: ") + what); }

#if defined(__x86_64__)

namespace {

Context context_with(const TileKernels& tiles, DType dtype, int num_threads, const TileWindows& windows) {
  auto plain = std::make_shared<KernelSet>("plain");
  add_cpu_attention(*plain, CpuLevel::kAvx512);
  const std::shared_ptr<const BlockAttention> rest(plain, &plain->get<BlockAttention>());
  auto kernels = std::make_shared<KernelSet>("emulated tiles");
  kernels->add<BlockAttention>(make_tile_attention(tiles, rest, windows));
  return Context({.device = {}, .compute_dtype = dtype, .num_threads = num_threads, .memory = nullptr, .kernels = kernels});
}

}  // namespace

bool has_emulated_tiles() { return runs_here(CpuLevel::kAvx512); }
bool has_emulated_bf16_tiles() { return runs_here(CpuLevel::kAvx512Bf16); }

Context emulated_tile_context(DType dtype, int num_threads, const TileWindows& windows) {
  return context_with(amx_emulated::tile_kernels(), dtype, num_threads, windows);
}
Context emulated_bf16_tile_context(DType dtype) { return context_with(amx_emulated_bf16::tile_kernels(), dtype, 1, {}); }

#else

bool has_emulated_tiles() { return false; }
bool has_emulated_bf16_tiles() { return false; }

Context emulated_tile_context(DType, int, const TileWindows&) {
  throw std::logic_error("no tile unit is emulated for this processor");
}
Context emulated_bf16_tile_context(DType dtype) { return emulated_tile_context(dtype); }

#endif

}  // namespace longspan::test
