#include "core/kernels/loss.h"

#include "core/kernels/checks.h"

namespace longspan {

namespace {

void expect_accumulator(const Tensor& tensor, const char* what) {
  check(accumulator(tensor.dtype()) == tensor.dtype(), "{} are {}, which is no accumulator; that is {}", what,
        name(tensor.dtype()), name(accumulator(tensor.dtype())));
}

void expect_logits_and_targets(const Tensor& logits, const Tensor& targets) {
  expect_rows(logits, "logits");
  expect_accumulator(logits, "logits");
  expect_dense(targets, {logits.size(0)}, DType::kInt32, "targets");
}

// As Tensor::over_rows lays it out.
bool lies_over_rows(const Tensor& dlogits, const Tensor& logits) {
  return dlogits.storage_id() == logits.storage_id() && dlogits.raw() == logits.raw() && dlogits.dtype() != logits.dtype() &&
         dlogits.layout().strides() == logits.over_rows(dlogits.dtype()).layout().strides();
}

void expect_dlogits(const Tensor& dlogits, const Tensor& logits, bool narrows_in_place) {
  expect_floating(dlogits, "dlogits");
  check(accumulator(dlogits.dtype()) == logits.dtype(),
        "dlogits are {}, whose accumulator is {}, but logits are {}", name(dlogits.dtype()),
        name(accumulator(dlogits.dtype())), name(logits.dtype()));
  expect_shape(dlogits, logits.shape(), "dlogits");
  if (!lies_over_rows(dlogits, logits) || !narrows_in_place) expect_contiguous(dlogits, "dlogits");
}

}  // namespace

Tensor Loss::gradient_over(const Context& context, const Tensor& logits, DType dtype) const {
  if (dtype == logits.dtype()) return logits;
  if (narrows_in_place()) return logits.over_rows(dtype);
  return context.empty(logits.shape(), dtype, MemoryTag::kWorkspace);
}

void Loss::cross_entropy(const Context& context, const Tensor& logits, const Tensor& targets,
                         const Tensor& losses) const {
  expect_logits_and_targets(logits, targets);
  expect_dense(losses, {logits.size(0)}, logits.dtype(), "losses");
  if (losses.num_elements() == 0) return;
  do_cross_entropy(context, logits, targets, 0, losses, Tensor());
}

void Loss::cross_entropy_with_gradient(const Context& context, const Tensor& logits, const Tensor& targets,
                                       double gradient_scale, const Tensor& losses,
                                       const Tensor& dlogits) const {
  expect_logits_and_targets(logits, targets);
  expect_dense(losses, {logits.size(0)}, logits.dtype(), "losses");
  expect_dlogits(dlogits, logits, narrows_in_place());
  if (losses.num_elements() == 0) return;
  do_cross_entropy(context, logits, targets, gradient_scale, losses, dlogits);
}

void Loss::partial_cross_entropy(const Context& context, const VocabularySlice& slice, const Tensor& logits,
                                 const Tensor& targets, const Tensor& parts) const {
  expect_logits_and_targets(logits, targets);
  expect_slice(slice, logits.size(1), "a row of logits");
  expect_dense(parts, {3, logits.size(0)}, logits.dtype(), "parts");
  if (logits.size(0) == 0) return;
  do_partial(context, slice, logits, targets, parts);
}

void Loss::combine_cross_entropy(const Context& context, const VocabularySlice& slice, const Tensor& parts, const Tensor& targets,
                                 const Tensor& losses, const Tensor& totals) const {
  expect_floating(parts, "parts");
  expect_rank(parts, 3, "parts");
  expect_accumulator(parts, "parts");
  const int64_t tokens = parts.size(2);
  expect_dense(parts, {parts.size(0), 3, tokens}, parts.dtype(), "parts");
  expect_dense(targets, {tokens}, DType::kInt32, "targets");
  expect_dense(losses, {tokens}, parts.dtype(), "losses");
  expect_dense(totals, {2, tokens}, parts.dtype(), "totals");
  if (tokens == 0) return;
  do_combine(context, slice, parts, targets, losses, totals);
}

void Loss::cross_entropy_gradient(const Context& context, const VocabularySlice& slice, const Tensor& logits,
                                  const Tensor& targets, double gradient_scale, const Tensor& totals,
                                  const Tensor& dlogits) const {
  expect_logits_and_targets(logits, targets);
  expect_slice(slice, logits.size(1), "a row of logits");
  expect_dense(totals, {2, logits.size(0)}, logits.dtype(), "totals");
  expect_dlogits(dlogits, logits, narrows_in_place());
  if (logits.num_elements() == 0) return;
  do_gradient(context, slice, logits, targets, gradient_scale, totals, dlogits);
}

}  // namespace longspan
