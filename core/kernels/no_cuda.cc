#include "core/kernels/backends.h"

namespace longspan {

bool has_cuda() { return false; }

void add_cuda_kernels(KernelSet&) {
  raise(ErrorKind::kConfiguration, "this build has no CUDA backend: build it where a CUDA toolkit 13 is found");
}

}  // namespace longspan
