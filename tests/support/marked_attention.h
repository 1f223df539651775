// Block attention that notes each of its calls in a log of transfers, so that a test sees what was under way meanwhile.
#pragma once

#include <memory>
#include <utility>

#include "attention/kernels/block_attention.h"
#include "parallel/comm/backends.h"
#include "tests/support/reference_context.h"

namespace longspan::test {

// Marks "compute" before each forward and backward. `inner` must outlive it.
class MarkedAttention final : public BlockAttention {
 public:
  MarkedAttention(const BlockAttention& inner, std::shared_ptr<CommLog> log) : inner_(inner), log_(std::move(log)) {}

 private:
  void do_forward(const Context& context, const AttentionBlock& block, const AttentionState& state) const override {
    log_->mark("compute");
    inner_.forward(context, block, state);
  }
  void do_clear(const Context& context, const Tensor& lse) const override { inner_.clear(context, lse); }
  void do_delta(const Context& context, const Tensor& output, const Tensor& doutput,
                const Tensor& delta) const override {
    inner_.delta(context, output, doutput, delta);
  }
  void do_backward(const Context& context, const AttentionBlock& block, const AttentionGradient& g) const override {
    log_->mark("compute");
    inner_.backward(context, block, g);
  }
  const BlockAttention& inner_;
  std::shared_ptr<CommLog> log_;
};

// A context like `plain`, which must outlive it, whose attention makes marks.
inline Context marked_context(const Context& plain, const std::shared_ptr<CommLog>& log) {
  auto kernels = std::make_shared<KernelSet>("marked");
  if (plain.compute_dtype() == DType::kFloat64) {
    add_reference_kernels(*kernels);
  } else {
    add_cpu_kernels(*kernels);
  }
  kernels->add<BlockAttention>(std::make_shared<MarkedAttention>(plain.kernels<BlockAttention>(), log));
  return Context({.device = {},
                  .compute_dtype = plain.compute_dtype(),
                  .num_threads = 1,
                  .memory = nullptr,
                  .kernels = kernels});
}

}  // namespace longspan::test
