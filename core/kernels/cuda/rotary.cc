#include "core/kernels/cuda/cuda.h"

namespace longspan::LS_CUDA {

namespace {

class CudaRotary final : public Rotary {
  void do_rotate(const Context& context, RotaryDirection direction, const Tensor& cosine, const Tensor& sine,
                 const Tensor& x) const override {
    expect_cuda_dtype<Rotary>(x.dtype());
    const Shape& strides = x.layout().strides();
    launch_rotate(context.stream().native(), x.dtype(),
                  {x.size(0), x.size(1), x.size(2), strides[0], strides[1], cosine.data<float>(), sine.data<float>(),
                   direction == RotaryDirection::kForward ? 1.0f : -1.0f, x.raw()});
  }
};

}  // namespace

std::shared_ptr<const Rotary> make_rotary() { return std::make_shared<CudaRotary>(); }

}  // namespace longspan::LS_CUDA
