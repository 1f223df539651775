// Launches of the kernels of this folder: what nvcc compiles (*.cu) and the families (*.cc) call. Plain arguments: pointers to
// device memory, contiguous unless strides are given, counts of elements, float32 or bfloat16. They return at once; work is in
// the order of the stream. Nothing is launched for no elements.
#pragma once

#include <cstdint>

#include "core/kernels/cuda/ptx/namespace.h"
#include "core/tensor/dtype.h"

struct CUstream_st;

namespace longspan::LS_CUDA {

using NativeStream = CUstream_st*;

// activation.cu: count elements each
void launch_swiglu_forward(NativeStream stream, DType dtype, int64_t count, const void* gate, const void* up, void* y);
struct SwigluBackward {
  const void *dy, *gate, *up;
  void *dgate, *dup;
};
void launch_swiglu_backward(NativeStream stream, DType dtype, int64_t count, const SwigluBackward& arguments);

}  // namespace longspan::LS_CUDA
