// The families of the reference backend: plain loops in double, on one thread, over float64 tensors.
#pragma once

#include "core/kernels/activation.h"
#include "core/kernels/checks.h"
#include "core/kernels/elementwise.h"
#include "core/kernels/embedding.h"
#include "core/kernels/linear_algebra.h"
#include "core/kernels/loss.h"
#include "core/kernels/normalization.h"
#include "core/kernels/optimizer.h"
#include "core/kernels/rotary.h"

namespace longspan::reference {

std::shared_ptr<const LinearAlgebra> make_linear_algebra();
std::shared_ptr<const Normalization> make_normalization();
std::shared_ptr<const Rotary> make_rotary();
std::shared_ptr<const Activation> make_activation();
std::shared_ptr<const Loss> make_loss();
std::shared_ptr<const Embedding> make_embedding();
std::shared_ptr<const OptimizerKernels> make_optimizer();
std::shared_ptr<const Elementwise> make_elementwise();

// The elements of a float64 tensor; any other dtype is refused in the name of the family.
template <class Family>
double* elements(const Tensor& tensor) {
  expect_supported(tensor.dtype(), {DType::kFloat64}, "reference", Family::kName);
  return tensor.data<double>();
}

}  // namespace longspan::reference
