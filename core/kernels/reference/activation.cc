#include <cmath>

#include "core/kernels/reference/reference.h"

namespace longspan::reference {

namespace {

double sigmoid(double z) {
  return 1.0 / (1.0 + std::exp(-z));
}

class ReferenceActivation final : public Activation {
  void do_swiglu_forward(const Context&, const Tensor& gate, const Tensor& up,
                         const Tensor& y) const override {
    const double *gates = elements<Activation>(gate), *ups = elements<Activation>(up);
    double* ys = elements<Activation>(y);
    for (int64_t i = 0; i < y.num_elements(); ++i) ys[i] = gates[i] * sigmoid(gates[i]) * ups[i];
  }

  void do_swiglu_backward(const Context&, const Tensor& dy, const Tensor& gate, const Tensor& up,
                          const Tensor& dgate, const Tensor& dup) const override {
    const double *dys = elements<Activation>(dy), *gates = elements<Activation>(gate);
    const double* ups = elements<Activation>(up);
    double *dgates = elements<Activation>(dgate), *dups = elements<Activation>(dup);
    for (int64_t i = 0; i < dy.num_elements(); ++i) {
      const double z = gates[i], s = sigmoid(z), d = dys[i], u = ups[i];
      dups[i] = d * z * s;
      dgates[i] = d * u * s * (1.0 + z * (1.0 - s));
    }
  }
};

}  // namespace

std::shared_ptr<const Activation> make_activation() {
  return std::make_shared<ReferenceActivation>();
}

}  // namespace longspan::reference
