// Kernel family: table look-up by token, and its gradient.
#pragma once

#include "core/kernels/vocabulary_slice.h"
#include "core/runtime/context.h"

namespace longspan {

class Embedding {
 public:
  static constexpr const char* kName = "embedding";
  virtual ~Embedding() = default;

  // y[t] = table[tokens[t]]; tokens int32 [tokens], each in [0, rows of the table); table [rows, n]; y [tokens, n].
  void gather(const Context& context, const Tensor& tokens, const Tensor& table, const Tensor& y) const;
  // dtable[tokens[t]] += dy[t], in the order of t whatever the number of threads; dtable in the accumulator.
  void scatter_add(const Context& context, const Tensor& tokens, const Tensor& dy, const Tensor& dtable) const;
  // The same of a table that holds a slice of the vocabulary: tokens of other entries read as zeros, and add to nothing.
  void gather_slice(const Context& context, const VocabularySlice& slice, const Tensor& tokens, const Tensor& table,
                    const Tensor& y) const;
  void scatter_add_slice(const Context& context, const VocabularySlice& slice, const Tensor& tokens, const Tensor& dy,
                         const Tensor& dtable) const;

 private:
  virtual void do_gather(const Context&, const VocabularySlice&, const Tensor& tokens, const Tensor& table,
                         const Tensor& y) const = 0;
  virtual void do_scatter_add(const Context&, const VocabularySlice&, const Tensor& tokens, const Tensor& dy,
                              const Tensor& dtable) const = 0;
};

}  // namespace longspan
