#include "core/kernels/cpu/cpu.h"

namespace longspan::cpu {

namespace {

class CpuRotary final : public Rotary {
 public:
  explicit CpuRotary(CpuLevel level) : level_(level) {}

 private:
  void do_rotate(const Context& context, RotaryDirection direction, const Tensor& cosine, const Tensor& sine,
                 const Tensor& x) const override {
    with_element_type<Rotary>(x.dtype(), [&]<class T>(std::type_identity<T>) {
      const auto xs = x.view<T, 3>();
      const int64_t half = xs.size(2) / 2;
      const float *cosines = cosine.data<float>(), *sines = sine.data<float>();
      const float sign = direction == RotaryDirection::kForward ? 1.0f : -1.0f;
      for_rows(context, xs.size(0), xs.size(1) * xs.size(2), [&](int64_t begin, int64_t count) {
        vector_loops<T>(level_).rotate({count, xs.size(1), xs.size(2), xs.stride(0), xs.stride(1),
                                        cosines + begin * half, sines + begin * half, sign,
                                        xs.data + begin * xs.stride(0)});
      });
    });
  }

  CpuLevel level_;
};

}  // namespace

std::shared_ptr<const Rotary> make_rotary(CpuLevel level) {
  return std::make_shared<CpuRotary>(level);
}

}  // namespace longspan::cpu
