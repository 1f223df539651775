#include "core/kernels/backends.h"
#include "core/kernels/cuda/backend.h"
#include "core/kernels/cuda/linear_algebra.h"

namespace longspan {

bool has_cuda() { return true; }

void add_cuda_kernels(KernelSet& kernels) {
  cuda::add_kernels(kernels);
  kernels.add(cuda::make_linear_algebra());
}

}  // namespace longspan
