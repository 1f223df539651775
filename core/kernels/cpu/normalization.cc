#include "core/kernels/cpu/cpu.h"

namespace longspan::cpu {

namespace {

class CpuNormalization final : public Normalization {
 public:
  explicit CpuNormalization(CpuLevel level) : level_(level) {}

 private:
  void do_forward(const Context& context, double epsilon, const Tensor& x, const Tensor& weight,
                  const Tensor& y, const Tensor& inverse_rms) const override {
    with_element_type<Normalization>(x.dtype(), [&]<class T>(std::type_identity<T>) {
      const int64_t n = x.size(1);
      const RmsNormRows<T> all{
          0, n, epsilon, x.data<T>(), weight.data<T>(), y.data<T>(), inverse_rms.data<float>()};
      for_rows(context, x.size(0), n, [&](int64_t begin, int64_t count) {
        vector_loops<T>(level_).rms_norm(
            {count, n, epsilon, all.x + begin * n, all.weight, all.y + begin * n, all.inverse_rms + begin});
      });
    });
  }

  void do_backward_input(const Context& context, const Tensor& dy, const Tensor& x, const Tensor& weight,
                         const Tensor& inverse_rms, const Tensor& dx) const override {
    with_element_type<Normalization>(x.dtype(), [&]<class T>(std::type_identity<T>) {
      const int64_t n = x.size(1);
      const RmsNormGradientRows<T> all{
          0, n, dy.data<T>(), x.data<T>(), weight.data<T>(), inverse_rms.data<float>(), dx.data<T>()};
      for_rows(context, x.size(0), n, [&](int64_t begin, int64_t count) {
        vector_loops<T>(level_).rms_norm_gradient({count, n, all.dy + begin * n, all.x + begin * n,
                                                   all.weight, all.inverse_rms + begin, all.dx + begin * n});
      });
    });
  }

  void do_backward_weight(const Context& context, const Tensor& dy, const Tensor& x,
                          const Tensor& inverse_rms, const Tensor& dweight) const override {
    with_element_type<Normalization>(x.dtype(), [&]<class T>(std::type_identity<T>) {
      const int64_t rows = x.size(0), n = x.size(1);
      const T *xs = x.data<T>(), *dys = dy.data<T>();
      const float* inverses = inverse_rms.data<float>();
      float* sum = dweight.data<float>();
      for_columns(context, rows, n, [&](int64_t begin, int64_t count) {
        vector_loops<T>(level_).sum_weight_gradient(
            {rows, count, n, xs + begin, dys + begin, inverses, sum + begin});
      });
    });
  }

  CpuLevel level_;
};

}  // namespace

std::shared_ptr<const Normalization> make_normalization(CpuLevel level) {
  return std::make_shared<CpuNormalization>(level);
}

}  // namespace longspan::cpu
