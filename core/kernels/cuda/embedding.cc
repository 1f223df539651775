#include "core/kernels/cuda/cuda.h"

namespace longspan::LS_CUDA {

namespace {

class CudaEmbedding final : public Embedding {
  void do_gather(const Context& context, const Tensor& tokens, const Tensor& table, const Tensor& y) const override {
    expect_cuda_dtype<Embedding>(y.dtype());
    launch_gather(context.stream().native(), y.dtype(), {tokens.size(0), table.size(0), table.size(1)}, tokens.data<int32_t>(),
                  table.raw(), y.raw());
  }

  void do_scatter_add(const Context& context, const Tensor& tokens, const Tensor& dy, const Tensor& dtable) const override {
    expect_cuda_dtype<Embedding>(dy.dtype());
    launch_scatter_add(context.stream().native(), dy.dtype(), {tokens.size(0), dtable.size(0), dtable.size(1)},
                       tokens.data<int32_t>(), dy.raw(), dtable.data<float>());
  }
};

}  // namespace

std::shared_ptr<const Embedding> make_embedding() { return std::make_shared<CudaEmbedding>(); }

}  // namespace longspan::LS_CUDA
