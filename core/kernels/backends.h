// The backends of the families in this folder. Each adds all of them to a set.
#pragma once

#include <cstddef>

#include "core/base/cpu_level.h"
#include "core/runtime/kernel_set.h"
#include "core/tensor/dtype.h"

namespace longspan {

// Plain loops in double precision (float64 tensors only): the oracle every other backend is tested against.
void add_reference_kernels(KernelSet& kernels);
// float32 and bfloat16 on the host. bfloat16 is rounded to and from float32 around fp32 arithmetic; products come from oneDNN.
// The loops are those of the best instruction set this machine has, or of `level`. What a call moves beyond `cache_bytes` is
// stored around the cache.
void add_cpu_kernels(KernelSet& kernels);
void add_cpu_kernels(KernelSet& kernels, CpuLevel level);
void add_cpu_kernels(KernelSet& kernels, CpuLevel level, size_t cache_bytes);
// Whether LinearAlgebra::pack makes something of a matrix of this dtype there: at least as many bytes as the matrix has.
bool cpu_packs(DType dtype, CpuLevel level);
// float32 and bfloat16 on GPUs. Whether this build has them; where it has not, adding them raises Error(kConfiguration).
bool has_cuda();
void add_cuda_kernels(KernelSet& kernels);

}  // namespace longspan
