#include "core/kernels/cuda/backend.h"

#include "core/kernels/cuda/cuda.h"

namespace longspan::LS_CUDA {

void add_kernels(KernelSet& kernels) {
  kernels.add(make_activation());
}

}  // namespace longspan::LS_CUDA
