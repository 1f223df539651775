#include "core/kernels/cpu/cpu.h"

namespace longspan::cpu {

namespace {

class CpuEmbedding final : public Embedding {
 public:
  CpuEmbedding(CpuLevel level, size_t cache_bytes) : level_(level), cache_bytes_(cache_bytes) {}

 private:
  void do_gather(const Context& context, const VocabularySlice& slice, const Tensor& tokens, const Tensor& table,
                 const Tensor& y) const override {
    with_element_type<Embedding>(table.dtype(), [&]<class T>(std::type_identity<T>) {
      const int32_t* token = tokens.data<int32_t>();
      const T* rows = table.data<T>();
      T* ys = y.data<T>();
      const int64_t n = table.size(1), held = table.size(0);
      const Stores stores = stores_of_call(2 * y.num_bytes(), cache_bytes_);
      for_rows(context, tokens.size(0), n, [&](int64_t begin, int64_t count) {
        for (int64_t t = begin; t < begin + count; ++t) {
          expect_token(token[t], t, slice.size);
          const int64_t row = token[t] - slice.first;
          if (row >= 0 && row < held) {
            vector_loops<T>(level_).copy(n, rows + row * n, ys + t * n, stores);
          } else {
            std::fill_n(ys + t * n, n, T{});
          }
        }
        vector_loops<T>(level_).fence();
      });
    });
  }

  // Each thread owns columns of the table and goes through all tokens in order.
  void do_scatter_add(const Context& context, const VocabularySlice& slice, const Tensor& tokens, const Tensor& dy,
                      const Tensor& dtable) const override {
    with_element_type<Embedding>(dy.dtype(), [&]<class T>(std::type_identity<T>) {
      const int32_t* token = tokens.data<int32_t>();
      const T* dys = dy.data<T>();
      float* rows = dtable.data<float>();
      const int64_t num_tokens = tokens.size(0), n = dtable.size(1), held = dtable.size(0);
      // all before any: a refused call must leave the table as it was
      for (int64_t t = 0; t < num_tokens; ++t) expect_token(token[t], t, slice.size);
      for_columns(context, num_tokens, n, [&](int64_t begin, int64_t count) {
        const VectorLoops<T>& loops = vector_loops<T>(level_);
        for (int64_t t = 0; t < num_tokens; ++t) {
          const int64_t row = token[t] - slice.first;
          if (row >= 0 && row < held) loops.accumulate(count, dys + t * n + begin, rows + row * n + begin);
        }
      });
    });
  }

  CpuLevel level_;
  size_t cache_bytes_;
};

}  // namespace

std::shared_ptr<const Embedding> make_embedding(CpuLevel level, size_t cache_bytes) {
  return std::make_shared<CpuEmbedding>(level, cache_bytes);
}

}  // namespace longspan::cpu
