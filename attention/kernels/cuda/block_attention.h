// Block attention on GPUs: float32, and bfloat16 by matrix instructions where heads are laid out for them.
#pragma once

#include "core/kernels/cuda/ptx/namespace.h"
#include "core/runtime/kernel_set.h"

namespace longspan::LS_CUDA {

void add_attention(KernelSet& kernels);

}  // namespace longspan::LS_CUDA
