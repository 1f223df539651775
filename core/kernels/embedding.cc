#include "core/kernels/embedding.h"

#include "core/kernels/checks.h"

namespace longspan {

namespace {

void expect_tokens_and_table(const Tensor& tokens, const Tensor& table, const char* what) {
  expect_rank(tokens, 1, "tokens");
  expect_dtype(tokens, DType::kInt32, "tokens");
  expect_contiguous(tokens, "tokens");
  expect_rows(table, what);
}

VocabularySlice whole(const Tensor& table) {
  expect_rank(table, 2, "table");
  return {.first = 0, .size = table.size(0)};
}

}  // namespace

void Embedding::gather(const Context& context, const Tensor& tokens, const Tensor& table, const Tensor& y) const {
  gather_slice(context, whole(table), tokens, table, y);
}

void Embedding::scatter_add(const Context& context, const Tensor& tokens, const Tensor& dy, const Tensor& dtable) const {
  scatter_add_slice(context, whole(dtable), tokens, dy, dtable);
}

void Embedding::gather_slice(const Context& context, const VocabularySlice& slice, const Tensor& tokens, const Tensor& table,
                             const Tensor& y) const {
  expect_tokens_and_table(tokens, table, "table");
  expect_slice(slice, table.size(0), "table");
  expect_dense(y, {tokens.size(0), table.size(1)}, table.dtype(), "y");
  if (y.num_elements() == 0) return;
  do_gather(context, slice, tokens, table, y);
}

void Embedding::scatter_add_slice(const Context& context, const VocabularySlice& slice, const Tensor& tokens, const Tensor& dy,
                                  const Tensor& dtable) const {
  expect_tokens_and_table(tokens, dtable, "dtable");
  expect_slice(slice, dtable.size(0), "dtable");
  expect_floating(dy, "dy");
  expect_shape(dy, {tokens.size(0), dtable.size(1)}, "dy");
  expect_contiguous(dy, "dy");
  expect_dtype(dtable, accumulator(dy.dtype()), "dtable");
  if (dy.num_elements() == 0 || dtable.num_elements() == 0) return;
  do_scatter_add(context, slice, tokens, dy, dtable);
}

}  // namespace longspan
