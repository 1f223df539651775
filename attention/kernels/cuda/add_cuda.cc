#include "attention/kernels/block_attention.h"
#include "attention/kernels/cuda/block_attention.h"

namespace longspan {

void add_cuda_attention(KernelSet& kernels) { cuda::add_attention(kernels); }

}  // namespace longspan
