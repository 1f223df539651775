#include "core/kernels/cuda/cuda.h"

namespace longspan::LS_CUDA {

namespace {

class CudaElementwise final : public Elementwise {
  void do_add(const Context& context, const Tensor& a, const Tensor& b, const Tensor& sum) const override {
    expect_cuda_dtype<Elementwise>(a.dtype());
    launch_add(context.stream().native(), a.dtype(), a.num_elements(), a.raw(), b.raw(), sum.raw());
  }

  void do_accumulate(const Context& context, const Tensor& x, const Tensor& sum) const override {
    expect_cuda_dtype<Elementwise>(x.dtype());
    launch_accumulate(context.stream().native(), x.dtype(), x.num_elements(), x.raw(), sum.data<float>());
  }

  void do_convert(const Context& context, const Tensor& from, const Tensor& to) const override {
    expect_cuda_dtype<Elementwise>(from.dtype());
    expect_cuda_dtype<Elementwise>(to.dtype());
    launch_convert(context.stream().native(), from.num_elements(), from.dtype(), from.raw(), to.dtype(), to.raw());
  }

  void do_add_bias(const Context& context, const Tensor& bias, const Tensor& y) const override {
    expect_cuda_dtype<Elementwise>(y.dtype());
    launch_add_bias(context.stream().native(), y.dtype(), y.size(0), y.size(1), bias.raw(), y.raw());
  }

  void do_accumulate_rows(const Context& context, const Tensor& x, const Tensor& sum) const override {
    expect_cuda_dtype<Elementwise>(x.dtype());
    const Tensor parts = row_sum_parts(context, x);
    launch_accumulate_rows(context.stream().native(), x.dtype(), x.size(0), x.size(1), x.raw(), parts.data<float>(),
                           sum.data<float>());
  }
};

}  // namespace

std::shared_ptr<const Elementwise> make_elementwise() { return std::make_shared<CudaElementwise>(); }

}  // namespace longspan::LS_CUDA
