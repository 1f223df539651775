#include "core/kernels/backends.h"
#include "core/kernels/cuda/backend.h"

namespace longspan {

bool has_cuda() { return true; }

void add_cuda_kernels(KernelSet& kernels) { cuda::add_kernels(kernels); }

}  // namespace longspan
