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

}  // namespace

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
  expect_contiguous(dlogits, "dlogits");
  if (losses.num_elements() == 0) return;
  do_cross_entropy(context, logits, targets, gradient_scale, losses, dlogits);
}

}  // namespace longspan
