// Kernel family: RMS normalisation (Zhang and Sennrich 2019): y = x / sqrt(mean(x^2) + epsilon) * weight, by rows.
#pragma once

#include "core/runtime/context.h"

namespace longspan {

class Normalization {
 public:
  static constexpr const char* kName = "normalization";
  virtual ~Normalization() = default;

  // x, y [rows, n]; weight [n]; all of one dtype. inverse_rms [rows], accumulator: assigned, for backward.
  void rms_norm_forward(const Context& context, double epsilon, const Tensor& x, const Tensor& weight,
                        const Tensor& y, const Tensor& inverse_rms) const;
  // The same of x + residual, which is left in sum, [rows, n], assigned: one pass over memory instead of two. The norm is of
  // the sum before it is rounded. sum may be x or residual.
  void rms_norm_residual_forward(const Context& context, double epsilon, const Tensor& x, const Tensor& residual,
                                 const Tensor& weight, const Tensor& sum, const Tensor& y,
                                 const Tensor& inverse_rms) const;
  // dx assigned: inverse_rms * (dy * weight - x * inverse_rms^2 * mean(dy * weight * x)).
  void rms_norm_backward_input(const Context& context, const Tensor& dy, const Tensor& x, const Tensor& weight,
                               const Tensor& inverse_rms, const Tensor& dx) const;
  // The same plus residual [rows, n], the gradient that comes to x around the norm.
  void rms_norm_residual_backward_input(const Context& context, const Tensor& dy, const Tensor& x, const Tensor& weight,
                                        const Tensor& inverse_rms, const Tensor& residual, const Tensor& dx) const;
  // dweight [n], accumulator, accumulated: sum over rows of dy * x * inverse_rms; the same bits for any thread count.
  void rms_norm_backward_weight(const Context& context, const Tensor& dy, const Tensor& x,
                                const Tensor& inverse_rms, const Tensor& dweight) const;

 private:
  // residual is undefined where there is none; then sum is, too
  virtual void do_forward(const Context&, double epsilon, const Tensor& x, const Tensor& residual, const Tensor& weight,
                          const Tensor& sum, const Tensor& y, const Tensor& inverse_rms) const = 0;
  virtual void do_backward_input(const Context&, const Tensor& dy, const Tensor& x, const Tensor& weight,
                                 const Tensor& inverse_rms, const Tensor& residual, const Tensor& dx) const = 0;
  virtual void do_backward_weight(const Context&, const Tensor& dy, const Tensor& x, const Tensor& inverse_rms,
                                  const Tensor& dweight) const = 0;
};

}  // namespace longspan
