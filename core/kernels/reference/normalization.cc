#include <cmath>

#include "core/kernels/reference/reference.h"

namespace longspan::reference {

namespace {

class ReferenceNormalization final : public Normalization {
  void do_forward(const Context&, double epsilon, const Tensor& x, const Tensor& residual, const Tensor& weight,
                  const Tensor& total, const Tensor& y, const Tensor& inverse_rms) const override {
    const double *xs = elements<Normalization>(x), *ws = elements<Normalization>(weight);
    double *ys = elements<Normalization>(y), *inverses = elements<Normalization>(inverse_rms);
    const int64_t rows = x.size(0), n = x.size(1);
    if (residual.defined()) {
      const double* residuals = elements<Normalization>(residual);
      double* totals = elements<Normalization>(total);
      for (int64_t i = 0; i < rows * n; ++i) totals[i] = xs[i] + residuals[i];
      xs = totals;
    }
    for (int64_t r = 0; r < rows; ++r) {
      double sum = 0;
      for (int64_t i = 0; i < n; ++i) sum += xs[r * n + i] * xs[r * n + i];
      inverses[r] = 1.0 / std::sqrt(sum / static_cast<double>(n) + epsilon);
      for (int64_t i = 0; i < n; ++i) ys[r * n + i] = xs[r * n + i] * inverses[r] * ws[i];
    }
  }

  void do_backward_input(const Context&, const Tensor& dy, const Tensor& x, const Tensor& weight,
                         const Tensor& inverse_rms, const Tensor& residual, const Tensor& dx) const override {
    const double *dys = elements<Normalization>(dy), *xs = elements<Normalization>(x);
    const double *ws = elements<Normalization>(weight), *inverses = elements<Normalization>(inverse_rms);
    const double* residuals = residual.defined() ? elements<Normalization>(residual) : nullptr;
    double* dxs = elements<Normalization>(dx);
    const int64_t rows = x.size(0), n = x.size(1);
    for (int64_t r = 0; r < rows; ++r) {
      double dot = 0;
      for (int64_t i = 0; i < n; ++i) dot += dys[r * n + i] * ws[i] * xs[r * n + i];
      const double inverse = inverses[r], common = inverse * inverse * dot / static_cast<double>(n);
      for (int64_t i = 0; i < n; ++i) {
        dxs[r * n + i] = inverse * (dys[r * n + i] * ws[i] - xs[r * n + i] * common);
        if (residuals) dxs[r * n + i] += residuals[r * n + i];
      }
    }
  }

  void do_backward_weight(const Context&, const Tensor& dy, const Tensor& x, const Tensor& inverse_rms,
                          const Tensor& dweight) const override {
    const double *dys = elements<Normalization>(dy), *xs = elements<Normalization>(x);
    const double* inverses = elements<Normalization>(inverse_rms);
    double* dws = elements<Normalization>(dweight);
    const int64_t rows = x.size(0), n = x.size(1);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i = 0; i < n; ++i) dws[i] += dys[r * n + i] * xs[r * n + i] * inverses[r];
    }
  }
};

}  // namespace

std::shared_ptr<const Normalization> make_normalization() {
  return std::make_shared<ReferenceNormalization>();
}

}  // namespace longspan::reference
