#include "attention/block_passes.h"

namespace longspan {

ForwardPass::ForwardPass(Context& context, const Tensor& q, double scale, MemoryTag tag)
    : context_(context),
      q_(q),
      scale_(scale),
      tag_(tag),
      state_(context.kernels<BlockAttention>().initial_state(context, q.size(0), q.size(1), q.size(2), tag)) {}

void ForwardPass::attend(const Tensor& k, const Tensor& v, const KeyIntervals& visible, int hop) {
  if (visible.empty()) return;
  const TraceRange range(context_.tracer(), TimeCategory::kCompute, kAttentionForward, {.hop = hop});
  context_.kernels<BlockAttention>().forward(
      context_, {.q = q_, .k = k, .v = v, .visible = &visible, .scale = scale_}, state_);
}

Tensor ForwardPass::finish() { return to_compute_dtype(context_, state_.output, tag_); }

BackwardPass::BackwardPass(Context& context, const AttentionStash& stash, const Tensor& doutput, double scale)
    : context_(context), q_(stash.q), scale_(scale) {
  const DType dtype = context.accumulator_dtype();
  gradient_.doutput = doutput;
  gradient_.lse = stash.lse;
  gradient_.delta = context.empty(stash.lse.shape(), dtype, MemoryTag::kWorkspace);
  context.kernels<BlockAttention>().delta(context, stash.output, doutput, gradient_.delta);
  gradient_.dq = context.zeros(q_.shape(), dtype);
}

std::vector<Tensor> BackwardPass::attend(const Tensor& k, const Tensor& v, const KeyIntervals& visible, int hop) {
  const DType dtype = context_.accumulator_dtype();
  gradient_.dk = context_.zeros(k.shape(), dtype, MemoryTag::kCommunication);
  gradient_.dv = context_.zeros(v.shape(), dtype, MemoryTag::kCommunication);
  if (!visible.empty()) {
    const TraceRange range(context_.tracer(), TimeCategory::kCompute, kAttentionBackward, {.hop = hop});
    context_.kernels<BlockAttention>().backward(
        context_, {.q = q_, .k = k, .v = v, .visible = &visible, .scale = scale_}, gradient_);
  }
  return {std::move(gradient_.dk), std::move(gradient_.dv)};
}

}  // namespace longspan
