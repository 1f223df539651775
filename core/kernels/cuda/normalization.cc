#include "core/kernels/cuda/cuda.h"

namespace longspan::LS_CUDA {

namespace {

class CudaNormalization final : public Normalization {
  void do_forward(const Context& context, double epsilon, const Tensor& x, const Tensor& residual, const Tensor& weight,
                  const Tensor& sum, const Tensor& y, const Tensor& inverse_rms) const override {
    expect_cuda_dtype<Normalization>(x.dtype());
    launch_rms_norm_forward(context.stream().native(), x.dtype(),
                            {x.size(0), x.size(1), static_cast<float>(epsilon), x.raw(), raw_or_null(residual), weight.raw(),
                             raw_or_null(sum), y.raw(), inverse_rms.data<float>()});
  }

  void do_backward_input(const Context& context, const Tensor& dy, const Tensor& x, const Tensor& weight,
                         const Tensor& inverse_rms, const Tensor& residual, const Tensor& dx) const override {
    expect_cuda_dtype<Normalization>(x.dtype());
    launch_rms_norm_backward(context.stream().native(), x.dtype(),
                             {x.size(0), x.size(1), dy.raw(), x.raw(), weight.raw(), inverse_rms.data<float>(),
                              raw_or_null(residual), dx.raw()});
  }

  void do_backward_weight(const Context& context, const Tensor& dy, const Tensor& x, const Tensor& inverse_rms,
                          const Tensor& dweight) const override {
    expect_cuda_dtype<Normalization>(x.dtype());
    const Tensor parts = row_sum_parts(context, x);
    launch_rms_norm_backward_weight(context.stream().native(), x.dtype(),
                                    {x.size(0), x.size(1), dy.raw(), x.raw(), inverse_rms.data<float>(), parts.data<float>(),
                                     dweight.data<float>()});
  }
};

}  // namespace

std::shared_ptr<const Normalization> make_normalization() { return std::make_shared<CudaNormalization>(); }

}  // namespace longspan::LS_CUDA
