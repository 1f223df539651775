#include "core/kernels/cpu/cpu.h"

namespace longspan::cpu {

namespace {

class CpuNormalization final : public Normalization {
 public:
  CpuNormalization(CpuLevel level, size_t cache_bytes) : level_(level), cache_bytes_(cache_bytes) {}

 private:
  void do_forward(const Context& context, double epsilon, const Tensor& x, const Tensor& residual, const Tensor& weight,
                  const Tensor& sum, const Tensor& y, const Tensor& inverse_rms) const override {
    with_element_type<Normalization>(x.dtype(), [&]<class T>(std::type_identity<T>) {
      const int64_t n = x.size(1);
      const RmsNormRows<T> all{.rows = 0,
                         .n = n,
                         .epsilon = epsilon,
                         .x = x.data<T>(),
                         .residual = residual.defined() ? residual.data<T>() : nullptr,
                         .weight = weight.data<T>(),
                         .sum = residual.defined() ? sum.data<T>() : nullptr,
                         .y = y.data<T>(),
                         .inverse_rms = inverse_rms.data<float>(),
                         .stores = stores_of_call((residual.defined() ? 4 : 2) * x.num_bytes(), cache_bytes_)};
      for_rows(context, x.size(0), n, [&](int64_t begin, int64_t count) {
        RmsNormRows<T> part = all;
        part.rows = count;
        part.x += begin * n;
        part.y += begin * n;
        part.inverse_rms += begin;
        if (part.residual) {
          part.residual += begin * n;
          part.sum += begin * n;
        }
        vector_loops<T>(level_).rms_norm(part);
      });
    });
  }

  void do_backward_input(const Context& context, const Tensor& dy, const Tensor& x, const Tensor& weight,
                         const Tensor& inverse_rms, const Tensor& residual, const Tensor& dx) const override {
    with_element_type<Normalization>(x.dtype(), [&]<class T>(std::type_identity<T>) {
      const int64_t n = x.size(1);
      const RmsNormGradientRows<T> all{.rows = 0,
                                       .n = n,
                                       .dy = dy.data<T>(),
                                       .x = x.data<T>(),
                                       .weight = weight.data<T>(),
                                       .residual = residual.defined() ? residual.data<T>() : nullptr,
                                       .inverse_rms = inverse_rms.data<float>(),
                                       .dx = dx.data<T>(),
                                       .stores = stores_of_call((residual.defined() ? 4 : 3) * x.num_bytes(), cache_bytes_)};
      for_rows(context, x.size(0), n, [&](int64_t begin, int64_t count) {
        RmsNormGradientRows<T> part = all;
        part.rows = count;
        part.dy += begin * n;
        part.x += begin * n;
        part.inverse_rms += begin;
        part.dx += begin * n;
        if (part.residual) part.residual += begin * n;
        vector_loops<T>(level_).rms_norm_gradient(part);
      });
    });
  }

  void do_backward_weight(const Context& context, const Tensor& dy, const Tensor& x,
                          const Tensor& inverse_rms, const Tensor& dweight) const override {
    with_element_type<Normalization>(x.dtype(), [&]<class T>(std::type_identity<T>) {
      const int64_t n = x.size(1);
      const T *xs = x.data<T>(), *dys = dy.data<T>();
      const float* inverses = inverse_rms.data<float>();
      sum_over_rows(context, level_, x.size(0), n, dweight.data<float>(),
                    [&](int64_t first, int64_t rows, float* part) {
                      vector_loops<T>(level_).sum_weight_gradient(
                          {rows, n, xs + first * n, dys + first * n, inverses + first, part});
                    });
    });
  }

  CpuLevel level_;
  size_t cache_bytes_;
};

}  // namespace

std::shared_ptr<const Normalization> make_normalization(CpuLevel level, size_t cache_bytes) {
  return std::make_shared<CpuNormalization>(level, cache_bytes);
}

}  // namespace longspan::cpu
