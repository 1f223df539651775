#include "core/kernels/reference/reference.h"

namespace longspan::reference {

namespace {

class ReferenceElementwise final : public Elementwise {
  void do_add(const Context&, const Tensor& a, const Tensor& b, const Tensor& sum) const override {
    const double *as = elements<Elementwise>(a), *bs = elements<Elementwise>(b);
    double* sums = elements<Elementwise>(sum);
    for (int64_t i = 0; i < a.num_elements(); ++i) sums[i] = as[i] + bs[i];
  }

  void do_accumulate(const Context&, const Tensor& x, const Tensor& sum) const override {
    const double* xs = elements<Elementwise>(x);
    double* sums = elements<Elementwise>(sum);
    for (int64_t i = 0; i < x.num_elements(); ++i) sums[i] += xs[i];
  }

  void do_convert(const Context&, const Tensor& from, const Tensor& to) const override {
    const double* source = elements<Elementwise>(from);
    double* target = elements<Elementwise>(to);
    for (int64_t i = 0; i < from.num_elements(); ++i) target[i] = source[i];
  }

  void do_add_bias(const Context&, const Tensor& bias, const Tensor& y) const override {
    const double* biases = elements<Elementwise>(bias);
    double* ys = elements<Elementwise>(y);
    const int64_t n = y.size(1);
    for (int64_t i = 0; i < y.num_elements(); ++i) ys[i] += biases[i % n];
  }

  void do_accumulate_rows(const Context&, const Tensor& x, const Tensor& sum) const override {
    const double* xs = elements<Elementwise>(x);
    double* sums = elements<Elementwise>(sum);
    const int64_t n = x.size(1);
    for (int64_t i = 0; i < x.num_elements(); ++i) sums[i % n] += xs[i];
  }
};

}  // namespace

std::shared_ptr<const Elementwise> make_elementwise() {
  return std::make_shared<ReferenceElementwise>();
}

}  // namespace longspan::reference
