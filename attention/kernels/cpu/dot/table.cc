#include "attention/kernels/cpu/dot/dot_kernels.h"

namespace longspan::LS_CPU_LEVEL {

// delta is bound by memory: the vectors' own serves.
HeadKernels<bfloat16> bfloat16_kernels() {
  HeadKernels<bfloat16> kernels = avx512::bfloat16_kernels();
  kernels.forward = forward;
  kernels.backward = backward;
  kernels.sizes.forward_tiles = kForwardDotTiles;
  kernels.forward_scratch = forward_scratch;
  kernels.backward_scratch = backward_scratch;
  return kernels;
}

}  // namespace longspan::LS_CPU_LEVEL
