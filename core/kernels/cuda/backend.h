// What is in the cuda backend beside products of matrices: the families whose kernels are our own.
#pragma once

#include "core/kernels/cuda/ptx/namespace.h"
#include "core/runtime/kernel_set.h"

namespace longspan::LS_CUDA {

void add_kernels(KernelSet& kernels);

}  // namespace longspan::LS_CUDA
