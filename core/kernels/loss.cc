#include "core/kernels/loss.h"

#include "core/kernels/checks.h"

namespace longspan {

namespace {

void expect_logits(const Tensor& logits, const Tensor& targets, const Tensor& losses) {
  expect_rows(logits, "logits");
  check(accumulator(logits.dtype()) == logits.dtype(), "logits are {}, which is no accumulator; that is {}",
        name(logits.dtype()), name(accumulator(logits.dtype())));
  expect_dense(targets, {logits.size(0)}, DType::kInt32, "targets");
  expect_dense(losses, {logits.size(0)}, logits.dtype(), "losses");
}

// As Tensor::over_rows lays it out.
bool lies_over_rows(const Tensor& dlogits, const Tensor& logits) {
  return dlogits.storage_id() == logits.storage_id() && dlogits.raw() == logits.raw() && dlogits.dtype() != logits.dtype() &&
         dlogits.layout().strides() == logits.over_rows(dlogits.dtype()).layout().strides();
}

}  // namespace

Tensor Loss::gradient_over(const Context& context, const Tensor& logits, DType dtype) const {
  if (dtype == logits.dtype()) return logits;
  if (narrows_in_place()) return logits.over_rows(dtype);
  return context.empty(logits.shape(), dtype, MemoryTag::kWorkspace);
}

void Loss::cross_entropy(const Context& context, const Tensor& logits, const Tensor& targets,
                         const Tensor& losses) const {
  expect_logits(logits, targets, losses);
  if (losses.num_elements() == 0) return;
  do_cross_entropy(context, logits, targets, 0, losses, Tensor());
}

void Loss::cross_entropy_with_gradient(const Context& context, const Tensor& logits, const Tensor& targets,
                                       double gradient_scale, const Tensor& losses,
                                       const Tensor& dlogits) const {
  expect_logits(logits, targets, losses);
  expect_floating(dlogits, "dlogits");
  check(accumulator(dlogits.dtype()) == logits.dtype(),
        "dlogits are {}, whose accumulator is {}, but logits are {}", name(dlogits.dtype()),
        name(accumulator(dlogits.dtype())), name(logits.dtype()));
  expect_shape(dlogits, logits.shape(), "dlogits");
  if (!lies_over_rows(dlogits, logits) || !narrows_in_place()) expect_contiguous(dlogits, "dlogits");
  if (losses.num_elements() == 0) return;
  do_cross_entropy(context, logits, targets, gradient_scale, losses, dlogits);
}

}  // namespace longspan
