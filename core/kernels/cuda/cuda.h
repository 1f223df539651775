// The families of the cuda backend.
#pragma once

#include <memory>

#include "core/kernels/activation.h"
#include "core/kernels/cuda/kernels.h"
#include "core/runtime/context.h"

namespace longspan::LS_CUDA {

std::shared_ptr<const Activation> make_activation();

// Raises unless the dtype is one that these kernels take.
template <class Family>
void expect_cuda_dtype(DType dtype) {
  expect_supported(dtype, {DType::kFloat32, DType::kBFloat16}, "cuda", Family::kName);
}

}  // namespace longspan::LS_CUDA
