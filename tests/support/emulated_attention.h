// The kernels of attention/kernels/cpu/amx, compiled for the emulated tile unit; needs AVX-512 F, BW, DQ and VL.
#pragma once

#include "attention/kernels/cpu/amx/tile_attention.h"
#include "core/runtime/context.h"

namespace longspan {

namespace amx_emulated {
TileKernels tile_kernels();
}  // namespace amx_emulated
namespace amx_emulated_bf16 {  // with AVX512_BF16 too, as the real ones
TileKernels tile_kernels();
}  // namespace amx_emulated_bf16

namespace test {
bool has_emulated_tiles();  // this build and this machine
bool has_emulated_bf16_tiles();
// A context whose attention in bfloat16 runs on them, all else at the machine's AVX-512 level.
Context emulated_tile_context(DType dtype, int num_threads = 1, const TileWindows& windows = {});
Context emulated_bf16_tile_context(DType dtype);
}  // namespace test

}  // namespace longspan
