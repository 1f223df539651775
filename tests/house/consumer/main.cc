// A linear layer of the installed core: y = x W^T with W all ones.
#include <cstdio>

#include "core/kernels/backends.h"
#include "core/kernels/linear_algebra.h"
#include "core/runtime/context.h"

int main() {
  using namespace longspan;
  auto kernels = std::make_shared<KernelSet>("cpu");
  add_cpu_kernels(*kernels);
  const Context context(
      {.device = {}, .compute_dtype = DType::kFloat32, .num_threads = 1, .memory = nullptr, .kernels = kernels});
  const Tensor x = context.zeros({2, 3}, DType::kFloat32), w = context.zeros({4, 3}, DType::kFloat32);
  const Tensor y = context.empty({2, 4}, DType::kFloat32);
  for (int i = 0; i < 6; ++i) x.data<float>()[i] = static_cast<float>(i);
  for (int i = 0; i < 12; ++i) w.data<float>()[i] = 1;
  context.kernels<LinearAlgebra>().gemm(context, {.b = Transpose::kYes}, x, w, y);
  std::printf("%g %g\n", static_cast<double>(y.data<float>()[0]), static_cast<double>(y.data<float>()[7]));
}
