// The families of the cuda backend, and what they share.
#pragma once

#include <memory>

#include "core/kernels/activation.h"
#include "core/kernels/cuda/kernels.h"
#include "core/kernels/elementwise.h"
#include "core/kernels/embedding.h"
#include "core/kernels/loss.h"
#include "core/kernels/normalization.h"
#include "core/kernels/optimizer.h"
#include "core/kernels/rotary.h"
#include "core/runtime/context.h"

namespace longspan::LS_CUDA {

std::shared_ptr<const Activation> make_activation();
std::shared_ptr<const Elementwise> make_elementwise();
std::shared_ptr<const Embedding> make_embedding();
std::shared_ptr<const Loss> make_loss();
std::shared_ptr<const Normalization> make_normalization();
std::shared_ptr<const OptimizerKernels> make_optimizer();
std::shared_ptr<const Rotary> make_rotary();

// Raises unless the dtype is one that these kernels take.
template <class Family>
void expect_cuda_dtype(DType dtype) {
  expect_supported(dtype, {DType::kFloat32, DType::kBFloat16}, "cuda", Family::kName);
}

inline void* raw_or_null(const Tensor& tensor) { return tensor.defined() ? tensor.raw() : nullptr; }

// For sums over the rows of x. Freed before they are used up by the stream, which is what memory of a stream allows.
inline Tensor row_sum_parts(const Context& context, const Tensor& x) {
  return context.empty({row_sum_chunks(x.size(0)), x.size(1)}, DType::kFloat32, MemoryTag::kWorkspace);
}

}  // namespace longspan::LS_CUDA
