// What attention of a rank's queries over one set of keys after another has in common, whichever way the keys came.
// Partial outputs and gradients stay in the accumulator dtype between sets.
#pragma once

#include "attention/kernels/block_attention.h"
#include "attention/sequence_attention.h"

namespace longspan {

class ForwardPass {
 public:
  ForwardPass(Context& context, const Tensor& q, double scale, MemoryTag tag);
  // (O, LSE) takes in these keys. `hop`: what a trace calls it.
  void attend(const Tensor& k, const Tensor& v, const KeyIntervals& visible, int hop);
  // Nothing is attended to after it.
  Tensor finish();
  const Tensor& lse() const { return state_.lse; }

 private:
  Context& context_;
  Tensor q_;
  double scale_;
  MemoryTag tag_;
  AttentionState state_;
};

class BackwardPass {
 public:
  // `output` and `lse` as forward left them.
  BackwardPass(Context& context, const AttentionStash& stash, const Tensor& doutput, double scale);
  // dQ accumulates; returns what these queries add to {dK, dV}, accumulator.
  std::vector<Tensor> attend(const Tensor& k, const Tensor& v, const KeyIntervals& visible, int hop);
  const Tensor& dq() const { return gradient_.dq; }  // accumulator

 private:
  Context& context_;
  Tensor q_;
  double scale_;
  AttentionGradient gradient_;
};

}  // namespace longspan
