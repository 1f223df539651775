#include "core/kernels/cuda/cuda.h"

namespace longspan::LS_CUDA {

namespace {

class CudaLoss final : public Loss {
  void do_cross_entropy(const Context& context, const Tensor& logits, const Tensor& targets, double gradient_scale,
                        const Tensor& losses, const Tensor& dlogits) const override {
    const DType dtype = dlogits.defined() ? dlogits.dtype() : logits.dtype();
    expect_cuda_dtype<Loss>(dtype);
    launch_cross_entropy(context.stream().native(), dtype,
                         {logits.size(0), logits.size(1), logits.data<float>(), targets.data<int32_t>(),
                          static_cast<float>(gradient_scale), losses.data<float>(), raw_or_null(dlogits),
                          dlogits.defined() ? dlogits.layout().strides()[0] : 0});
  }

  bool narrows_in_place() const override { return true; }
};

}  // namespace

std::shared_ptr<const Loss> make_loss() { return std::make_shared<CudaLoss>(); }

}  // namespace longspan::LS_CUDA
