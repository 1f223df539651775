#include "core/kernels/cuda/cuda.h"

namespace longspan::LS_CUDA {

namespace {

EmbeddingShape shape_of(const VocabularySlice& slice, const Tensor& tokens, const Tensor& table) {
  return {tokens.size(0), slice.size, slice.first, table.size(0), table.size(1)};
}

class CudaEmbedding final : public Embedding {
  void do_gather(const Context& context, const VocabularySlice& slice, const Tensor& tokens, const Tensor& table,
                 const Tensor& y) const override {
    expect_cuda_dtype<Embedding>(y.dtype());
    launch_gather(context.stream().native(), y.dtype(), shape_of(slice, tokens, table), tokens.data<int32_t>(), table.raw(),
                  y.raw());
  }

  void do_scatter_add(const Context& context, const VocabularySlice& slice, const Tensor& tokens, const Tensor& dy,
                      const Tensor& dtable) const override {
    expect_cuda_dtype<Embedding>(dy.dtype());
    launch_scatter_add(context.stream().native(), dy.dtype(), shape_of(slice, tokens, dtable), tokens.data<int32_t>(), dy.raw(),
                       dtable.data<float>());
  }
};

}  // namespace

std::shared_ptr<const Embedding> make_embedding() { return std::make_shared<CudaEmbedding>(); }

}  // namespace longspan::LS_CUDA
