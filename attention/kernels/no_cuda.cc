#include "attention/kernels/block_attention.h"

namespace longspan {

void add_cuda_attention(KernelSet&) {
  raise(ErrorKind::kConfiguration, "this build has no CUDA backend: build it where a CUDA toolkit 13 is found");
}

}  // namespace longspan
