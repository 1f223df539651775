// Kernel family: optimizer updates and gradient norms.
#pragma once

#include <span>

#include "core/runtime/context.h"

namespace longspan {

// AdamW (Loshchilov and Hutter 2019), with the gradient first multiplied by gradient_scale (clipping):
//   m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//   w -= learning_rate * (weight_decay * w + (m / (1 - beta1^step)) / (sqrt(v / (1 - beta2^step)) + epsilon))
struct AdamWOptions {
  double learning_rate = 0, beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weight_decay = 0, gradient_scale = 1;
  int64_t step = 1;  // counts from 1
};

class OptimizerKernels {
 public:
  static constexpr const char* kName = "optimizer";
  virtual ~OptimizerKernels() = default;

  // master, first_moment, second_moment, gradient in the accumulator; value, the copy that computes, in the compute
  // dtype: master rounded. value may be the master tensor itself. All of one shape, contiguous.
  void adamw(const Context& context, const AdamWOptions& options, const Tensor& gradient, const Tensor& master,
             const Tensor& first_moment, const Tensor& second_moment, const Tensor& value) const;
  // Sum of squares in double; the same bits for any thread count.
  double sum_of_squares(const Context& context, const Tensor& x) const {
    return sum_of_squares(context, std::span<const Tensor>(&x, 1));
  }
  // Of all of them, of one dtype: one after the other, but read by the host once.
  double sum_of_squares(const Context& context, std::span<const Tensor> xs) const;

 private:
  virtual void do_adamw(const Context&, const AdamWOptions&, const Tensor& gradient, const Tensor& master,
                        const Tensor& first_moment, const Tensor& second_moment, const Tensor& value) const = 0;
  virtual double do_sum_of_squares(const Context&, std::span<const Tensor> xs) const = 0;  // none is empty
};

}  // namespace longspan
