#include "core/kernels/cpu/cpu.h"

namespace longspan::cpu {

namespace {

class CpuLoss final : public Loss {
 public:
  explicit CpuLoss(CpuLevel level) : level_(level) {}

 private:
  void do_cross_entropy(const Context& context, const Tensor& logits, const Tensor& targets,
                        double gradient_scale, const Tensor& losses, const Tensor& dlogits) const override {
    expect_supported(logits.dtype(), {DType::kFloat32}, "cpu", kName);
    const DType dtype = dlogits.defined() ? dlogits.dtype() : DType::kFloat32;
    with_element_type<Loss>(dtype, [&]<class T>(std::type_identity<T>) {
      const float* all = logits.data<float>();
      const int32_t* target = targets.data<int32_t>();
      float* loss = losses.data<float>();
      T* gradients = dlogits.defined() ? dlogits.data<T>() : nullptr;
      const int64_t n = logits.size(1);
      for_rows(context, logits.size(0), n, [&](int64_t begin, int64_t count) {
        for (int64_t t = begin; t < begin + count; ++t) {
          expect_target(target[t], t, n);
          T* gradient = gradients ? gradients + t * n : nullptr;
          if (target[t] == kNoTarget) {
            loss[t] = 0;
            if (gradient) std::fill_n(gradient, n, T{});
          } else {
            vector_loops<T>(level_).cross_entropy(
                {n, all + t * n, target[t], static_cast<float>(gradient_scale), loss + t, gradient});
          }
        }
      });
    });
  }

  CpuLevel level_;
};

}  // namespace

std::shared_ptr<const Loss> make_loss(CpuLevel level) {
  return std::make_shared<CpuLoss>(level);
}

}  // namespace longspan::cpu
