#include "core/kernels/cuda/cuda.h"

#include <cmath>
#include <numeric>

namespace longspan::LS_CUDA {

namespace {

class CudaOptimizer final : public OptimizerKernels {
  void do_adamw(const Context& context, const AdamWOptions& o, const Tensor& gradient, const Tensor& master,
                const Tensor& first_moment, const Tensor& second_moment, const Tensor& value) const override {
    expect_cuda_dtype<OptimizerKernels>(value.dtype());
    const double bias1 = 1.0 - std::pow(o.beta1, o.step), bias2 = 1.0 - std::pow(o.beta2, o.step);
    AdamWArguments arguments{};
    arguments.count = value.num_elements();
    arguments.gradient_scale = static_cast<float>(o.gradient_scale);
    arguments.beta1 = static_cast<float>(o.beta1);
    arguments.one_minus_beta1 = static_cast<float>(1.0 - o.beta1);
    arguments.beta2 = static_cast<float>(o.beta2);
    arguments.one_minus_beta2 = static_cast<float>(1.0 - o.beta2);
    arguments.rate = static_cast<float>(o.learning_rate / bias1);
    arguments.decay = static_cast<float>(o.learning_rate * o.weight_decay);
    arguments.root_correction = static_cast<float>(1.0 / std::sqrt(bias2));
    arguments.epsilon = static_cast<float>(o.epsilon);
    arguments.gradient = gradient.data<float>();
    arguments.master = master.data<float>();
    arguments.first_moment = first_moment.data<float>();
    arguments.second_moment = second_moment.data<float>();
    arguments.value = value.raw();
    launch_adamw(context.stream().native(), value.dtype(), arguments);
  }

  double do_sum_of_squares(const Context& context, std::span<const Tensor> xs) const override {
    int64_t num_parts = 0;
    for (const Tensor& x : xs) num_parts += sum_of_squares_parts(x.num_elements());
    const Tensor parts = context.empty({num_parts}, DType::kFloat64, MemoryTag::kWorkspace);
    double* next = parts.data<double>();
    for (const Tensor& x : xs) {
      expect_cuda_dtype<OptimizerKernels>(x.dtype());
      launch_sum_of_squares(context.stream().native(), x.dtype(), x.num_elements(), x.raw(), next);
      next += sum_of_squares_parts(x.num_elements());
    }
    const Tensor sums = context.to_host(parts);
    return std::accumulate(sums.data<double>(), sums.data<double>() + sums.num_elements(), 0.0);
  }
};

}  // namespace

std::shared_ptr<const OptimizerKernels> make_optimizer() { return std::make_shared<CudaOptimizer>(); }

}  // namespace longspan::LS_CUDA
