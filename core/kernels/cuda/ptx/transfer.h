// Copies between host and device memory that are waited for. For small tables; tensors go by streams of their own.
#pragma once

#include <cstddef>

#include "core/kernels/cuda/ptx/namespace.h"

struct CUstream_st;

namespace longspan::LS_CUDA {

// Return when the bytes are there; all earlier work of the stream is done then. Raise Error(kInternal) where that failed.
void copy_to_host(CUstream_st* stream, void* to, const void* from, size_t num_bytes);
void copy_to_device(CUstream_st* stream, void* to, const void* from, size_t num_bytes);

}  // namespace longspan::LS_CUDA
