#include "core/kernels/cuda/cuda.h"

namespace longspan::LS_CUDA {

namespace {

class CudaActivation final : public Activation {
  void do_swiglu_forward(const Context& context, const Tensor& gate, const Tensor& up, const Tensor& y) const override {
    expect_cuda_dtype<Activation>(y.dtype());
    launch_swiglu_forward(context.stream().native(), y.dtype(), y.num_elements(), gate.raw(), up.raw(), y.raw());
  }

  void do_swiglu_backward(const Context& context, const Tensor& dy, const Tensor& gate, const Tensor& up,
                          const Tensor& dgate, const Tensor& dup) const override {
    expect_cuda_dtype<Activation>(dy.dtype());
    launch_swiglu_backward(context.stream().native(), dy.dtype(), dy.num_elements(),
                    {dy.raw(), gate.raw(), up.raw(), dgate.raw(), dup.raw()});
  }
};

}  // namespace

std::shared_ptr<const Activation> make_activation() { return std::make_shared<CudaActivation>(); }

}  // namespace longspan::LS_CUDA
