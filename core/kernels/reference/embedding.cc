#include "core/kernels/reference/reference.h"

namespace longspan::reference {

namespace {

class ReferenceEmbedding final : public Embedding {
  void do_gather(const Context&, const VocabularySlice& slice, const Tensor& tokens, const Tensor& table,
                 const Tensor& y) const override {
    const int32_t* token = tokens.data<int32_t>();
    const double* rows = elements<Embedding>(table);
    double* ys = elements<Embedding>(y);
    const int64_t n = table.size(1);
    for (int64_t t = 0; t < tokens.size(0); ++t) {
      expect_token(token[t], t, slice.size);
      const int64_t row = token[t] - slice.first;
      const bool held = row >= 0 && row < table.size(0);
      for (int64_t i = 0; i < n; ++i) ys[t * n + i] = held ? rows[row * n + i] : 0;
    }
  }

  void do_scatter_add(const Context&, const VocabularySlice& slice, const Tensor& tokens, const Tensor& dy,
                      const Tensor& dtable) const override {
    const int32_t* token = tokens.data<int32_t>();
    const double* dys = elements<Embedding>(dy);
    double* rows = elements<Embedding>(dtable);
    const int64_t n = dtable.size(1);
    for (int64_t t = 0; t < tokens.size(0); ++t) {
      expect_token(token[t], t, slice.size);
      const int64_t row = token[t] - slice.first;
      if (row < 0 || row >= dtable.size(0)) continue;
      for (int64_t i = 0; i < n; ++i) rows[row * n + i] += dys[t * n + i];
    }
  }
};

}  // namespace

std::shared_ptr<const Embedding> make_embedding() {
  return std::make_shared<ReferenceEmbedding>();
}

}  // namespace longspan::reference
