#include "core/kernels/reference/reference.h"

namespace longspan::reference {

namespace {

class ReferenceLinearAlgebra final : public LinearAlgebra {
  void do_gemm(const Context&, const GemmOptions& options, const Tensor& a, const Tensor& b,
               const Tensor& c) const override {
    for (const Tensor& t : {a, b, c}) expect_supported(t.dtype(), {DType::kFloat64}, "reference", kName);
    const auto av = a.view<double, 2>(), bv = b.view<double, 2>(), cv = c.view<double, 2>();
    const bool ta = options.a == Transpose::kYes, tb = options.b == Transpose::kYes;
    const int64_t depth = a.size(ta ? 0 : 1);
    for (int64_t i = 0; i < c.size(0); ++i) {
      for (int64_t j = 0; j < c.size(1); ++j) {
        double sum = options.write == Write::kAccumulate ? cv(i, j) : 0.0;
        for (int64_t k = 0; k < depth; ++k) sum += (ta ? av(k, i) : av(i, k)) * (tb ? bv(j, k) : bv(k, j));
        cv(i, j) = sum;
      }
    }
  }
};

}  // namespace

std::shared_ptr<const LinearAlgebra> make_linear_algebra() {
  return std::make_shared<ReferenceLinearAlgebra>();
}

}  // namespace longspan::reference
