#include "attention/kernels/cpu/level_kernels.h"

namespace longspan::LS_CPU_LEVEL {

namespace {

template <class T>
HeadKernels<T> kernels() {
  return {.sizes = {},
          .forward = forward<T>,
          .backward = backward<T>,
          .delta = delta<T, T>,
          .delta_of_accumulator = delta<float, T>,
          .forward_scratch = vector_forward_scratch,
          .backward_scratch = vector_backward_scratch};
}

}  // namespace

HeadKernels<float> float_kernels() { return kernels<float>(); }
HeadKernels<bfloat16> bfloat16_kernels() { return kernels<bfloat16>(); }

}  // namespace longspan::LS_CPU_LEVEL
