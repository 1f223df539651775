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

  void do_partial(const Context& context, const VocabularySlice& slice, const Tensor& logits, const Tensor& targets,
                  const Tensor& parts) const override {
    expect_supported(logits.dtype(), {DType::kFloat32}, "cuda", kName);
    launch_partial_cross_entropy(context.stream().native(),
                                 {logits.size(0), slice.first, logits.size(1), logits.data<float>(), targets.data<int32_t>(),
                                  parts.data<float>()});
  }

  void do_combine(const Context& context, const VocabularySlice& slice, const Tensor& parts, const Tensor& targets,
                  const Tensor& losses, const Tensor& totals) const override {
    expect_supported(parts.dtype(), {DType::kFloat32}, "cuda", kName);
    launch_combine_cross_entropy(context.stream().native(),
                                 {parts.size(0), parts.size(2), slice.size, parts.data<float>(), targets.data<int32_t>(),
                                  losses.data<float>(), totals.data<float>()});
  }

  void do_gradient(const Context& context, const VocabularySlice& slice, const Tensor& logits, const Tensor& targets,
                   double gradient_scale, const Tensor& totals, const Tensor& dlogits) const override {
    expect_cuda_dtype<Loss>(dlogits.dtype());
    launch_cross_entropy_gradient(
        context.stream().native(), dlogits.dtype(),
        {logits.size(0), slice.size, slice.first, logits.size(1), logits.data<float>(), targets.data<int32_t>(),
         static_cast<float>(gradient_scale), totals.data<float>(), dlogits.raw(), dlogits.layout().strides()[0]});
  }

  bool narrows_in_place() const override { return true; }
};

}  // namespace

std::shared_ptr<const Loss> make_loss() { return std::make_shared<CudaLoss>(); }

}  // namespace longspan::LS_CUDA
