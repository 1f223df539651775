#include "core/kernels/cuda/backend.h"

#include "core/kernels/cuda/cuda.h"

namespace longspan::LS_CUDA {

void add_kernels(KernelSet& kernels) {
  kernels.add(make_normalization());
  kernels.add(make_rotary());
  kernels.add(make_activation());
  kernels.add(make_loss());
  kernels.add(make_embedding());
  kernels.add(make_optimizer());
  kernels.add(make_elementwise());
}

}  // namespace longspan::LS_CUDA
