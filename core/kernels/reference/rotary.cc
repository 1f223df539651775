#include "core/kernels/reference/reference.h"

namespace longspan::reference {

namespace {

class ReferenceRotary final : public Rotary {
  void do_rotate(const Context&, RotaryDirection direction, const Tensor& cosine, const Tensor& sine,
                 const Tensor& x) const override {
    expect_supported(x.dtype(), {DType::kFloat64}, "reference", kName);
    const auto cosines = cosine.view<double, 2>(), sines = sine.view<double, 2>();
    const auto xs = x.view<double, 3>();
    const double sign = direction == RotaryDirection::kForward ? 1.0 : -1.0;
    const int64_t half = x.size(2) / 2;
    for (int64_t t = 0; t < x.size(0); ++t) {
      for (int64_t h = 0; h < x.size(1); ++h) {
        for (int64_t i = 0; i < half; ++i) {
          const double c = cosines(t, i), s = sign * sines(t, i), first = xs(t, h, i),
                       second = xs(t, h, i + half);
          xs(t, h, i) = first * c - second * s;
          xs(t, h, i + half) = second * c + first * s;
        }
      }
    }
  }
};

}  // namespace

std::shared_ptr<const Rotary> make_rotary() {
  return std::make_shared<ReferenceRotary>();
}

}  // namespace longspan::reference
