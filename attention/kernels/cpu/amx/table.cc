#include "attention/kernels/cpu/amx/backward.h"
#include "attention/kernels/cpu/amx/forward.h"
#include "attention/kernels/cpu/amx/packing.h"

namespace longspan::LS_CPU_LEVEL {

TileKernels tile_kernels() {
  return {.pack = pack, .forward = forward, .backward = backward, .add_dq = add_dq, .add_dkv = add_dkv};
}

}  // namespace longspan::LS_CPU_LEVEL
