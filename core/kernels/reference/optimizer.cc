#include <cmath>

#include "core/kernels/reference/reference.h"

namespace longspan::reference {

namespace {

class ReferenceOptimizer final : public OptimizerKernels {
  void do_adamw(const Context&, const AdamWOptions& o, const Tensor& gradient, const Tensor& master,
                const Tensor& first_moment, const Tensor& second_moment, const Tensor& value) const override {
    const double* gradients = elements<OptimizerKernels>(gradient);
    double *w = elements<OptimizerKernels>(master), *copies = elements<OptimizerKernels>(value);
    double *m = elements<OptimizerKernels>(first_moment), *v = elements<OptimizerKernels>(second_moment);
    const double bias1 = 1.0 - std::pow(o.beta1, o.step), bias2 = 1.0 - std::pow(o.beta2, o.step);
    for (int64_t i = 0; i < value.num_elements(); ++i) {
      const double g = gradients[i] * o.gradient_scale;
      m[i] = o.beta1 * m[i] + (1.0 - o.beta1) * g;
      v[i] = o.beta2 * v[i] + (1.0 - o.beta2) * g * g;
      w[i] -=
          o.learning_rate * (o.weight_decay * w[i] + m[i] / bias1 / (std::sqrt(v[i] / bias2) + o.epsilon));
      copies[i] = w[i];
    }
  }

  double do_sum_of_squares(const Context&, std::span<const Tensor> xs) const override {
    double all = 0;
    for (const Tensor& x : xs) {
      const double* values = elements<OptimizerKernels>(x);
      double sum = 0;
      for (int64_t i = 0; i < x.num_elements(); ++i) sum += values[i] * values[i];
      all += sum;
    }
    return all;
  }
};

}  // namespace

std::shared_ptr<const OptimizerKernels> make_optimizer() {
  return std::make_shared<ReferenceOptimizer>();
}

}  // namespace longspan::reference
