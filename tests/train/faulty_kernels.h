// Kernels that err, for planting errors: the reference or the CPU kernels, with one family in which a single thing is
// wrong.
#pragma once

#include <atomic>
#include <cmath>
#include <cstring>
#include <utility>

#include "attention/kernels/block_attention.h"
#include "core/kernels/elementwise.h"
#include "core/kernels/linear_algebra.h"
#include "core/kernels/loss.h"
#include "core/kernels/optimizer.h"
#include "core/kernels/rotary.h"
#include "train/rank_context.h"

namespace longspan::test {

using Kernels = std::shared_ptr<const KernelSet>;

// The kernels of a precision with `Faulty` in the place of its family; it is made from the right ones and `arguments`.
template <class Family, class Faulty, class... Arguments>
Kernels with_fault_in(DType dtype, Arguments... arguments) {
  const auto kernels = std::make_shared<KernelSet>(*kernels_for(dtype));
  kernels->add<Family>(std::make_shared<const Faulty>(kernels_for(dtype), arguments...));
  return kernels;
}

// The reference kernels.
template <class Family, class Faulty, class... Arguments>
Kernels with_fault(Arguments... arguments) {
  return with_fault_in<Family, Faulty>(DType::kFloat64, arguments...);
}

// The CPU kernels, in float32 and bfloat16.
template <class Family, class Faulty, class... Arguments>
Kernels with_cpu_fault(Arguments... arguments) {
  return with_fault_in<Family, Faulty>(DType::kFloat32, arguments...);
}

// Passes everything on; errors derive from it.
class RightAttention : public BlockAttention {
 public:
  explicit RightAttention(Kernels right) : right_(std::move(right)) {}

 protected:
  const BlockAttention& right() const { return right_->get<BlockAttention>(); }
  void do_forward(const Context& context, const AttentionBlock& block, const AttentionState& state) const override {
    right().forward(context, block, state);
  }
  void do_clear(const Context& context, const Tensor& lse) const override { right().clear(context, lse); }
  void do_delta(const Context& context, const Tensor& output, const Tensor& doutput,
                const Tensor& delta) const override {
    right().delta(context, output, doutput, delta);
  }
  void do_backward(const Context& context, const AttentionBlock& block,
                   const AttentionGradient& gradient) const override {
    right().backward(context, block, gradient);
  }

 private:
  Kernels right_;
};

// The `skipped`-th forward is left out.
class SkipsAHop final : public RightAttention {
 public:
  SkipsAHop(Kernels right, int skipped) : RightAttention(std::move(right)), skipped_(skipped) {}

 private:
  void do_forward(const Context& context, const AttentionBlock& block, const AttentionState& state) const override {
    if (count_++ != skipped_) right().forward(context, block, state);
  }
  int skipped_;
  mutable std::atomic<int> count_ = 0;
};

// Queries that may not see a shard's first keys, because these belong to another document, see one of them.
class SeesBeyondTheEdge final : public RightAttention {
 public:
  using RightAttention::RightAttention;

 private:
  void do_forward(const Context& context, const AttentionBlock& block, const AttentionState& state) const override {
    std::vector<IndexInterval> visible;
    for (int64_t i = 0; i < block.visible->num_queries(); ++i) {
      const auto slot = static_cast<size_t>(i);
      const int64_t begin = block.visible->begin()[slot], end = block.visible->end()[slot];
      visible.push_back({.begin = begin < end && begin > 0 ? begin - 1 : begin, .end = end});
    }
    const KeyIntervals wrong(visible, {{.start = 0, .stride = 1, .length = block.visible->num_keys()}});
    AttentionBlock changed = block;
    changed.visible = &wrong;
    right().forward(context, changed, state);
  }
};

// Query heads use the keys and values of the group after theirs.
class UsesTheNextGroup final : public RightAttention {
 public:
  using RightAttention::RightAttention;

 private:
  static Tensor turned(const Context& context, const Tensor& x) {
    const Tensor y = context.empty(x.shape(), x.dtype());
    for (int64_t t = 0; t < x.size(0); ++t) {
      for (int64_t h = 0; h < x.size(1); ++h) {
        const Tensor from = x.select(0, t).select(0, (h + 1) % x.size(1));
        std::memcpy(y.select(0, t).select(0, h).raw(), from.raw(), from.num_bytes());
      }
    }
    return y;
  }
  void do_forward(const Context& context, const AttentionBlock& block, const AttentionState& state) const override {
    AttentionBlock changed = block;
    changed.k = turned(context, block.k);
    changed.v = turned(context, block.v);
    right().forward(context, changed, state);
  }
};

// Not a number where one comes out of the first forward.
class GivesNotANumber final : public RightAttention {
 public:
  using RightAttention::RightAttention;

 private:
  void do_forward(const Context& context, const AttentionBlock& block, const AttentionState& state) const override {
    right().forward(context, block, state);
    if (count_++ == 0) *state.output.data<double>() = std::nan("");
  }
  mutable std::atomic<int> count_ = 0;
};

// The sum of the squares of the gradients is none.
class NormIsNotANumber final : public OptimizerKernels {
 public:
  explicit NormIsNotANumber(Kernels right) : right_(std::move(right)) {}

 private:
  void do_adamw(const Context& context, const AdamWOptions& options, const Tensor& gradient, const Tensor& master,
                const Tensor& first, const Tensor& second, const Tensor& value) const override {
    right_->get<OptimizerKernels>().adamw(context, options, gradient, master, first, second, value);
  }
  double do_sum_of_squares(const Context&, std::span<const Tensor>) const override { return std::nan(""); }
  Kernels right_;
};

// Of the CPU kernels, which keep what hops add up in float32: every hop rounds it to bfloat16.
class RoundsEveryHop final : public RightAttention {
 public:
  enum class What { kOutput, kOutputAndLse };
  RoundsEveryHop(Kernels right, What what) : RightAttention(std::move(right)), what_(what) {}

 private:
  static void round(const Tensor& x) {
    float* values = x.data<float>();
    for (int64_t i = 0; i < x.num_elements(); ++i) values[i] = static_cast<float>(bfloat16(values[i]));
  }
  void do_forward(const Context& context, const AttentionBlock& block, const AttentionState& state) const override {
    right().forward(context, block, state);
    round(state.output);
    if (what_ == What::kOutputAndLse) round(state.lse);
  }
  What what_;
};

// Every hop makes the sums of dK and dV that pass through it 2 % smaller.
class LosesKeyGradients final : public RightAttention {
 public:
  using RightAttention::RightAttention;

 private:
  void do_backward(const Context& context, const AttentionBlock& block,
                   const AttentionGradient& gradient) const override {
    right().backward(context, block, gradient);
    for (const Tensor& x : {gradient.dk, gradient.dv}) {
      for (int64_t i = 0; i < x.num_elements(); ++i) x.data<float>()[i] *= 0.98F;
    }
  }
};

// One row of the gradient of queries gets lost.
class DropsARow final : public RightAttention {
 public:
  DropsARow(Kernels right, int row) : RightAttention(std::move(right)), row_(row) {}

 private:
  void do_backward(const Context& context, const AttentionBlock& block,
                   const AttentionGradient& gradient) const override {
    right().backward(context, block, gradient);
    const Tensor row = gradient.dq.select(0, row_);
    std::memset(row.raw(), 0, row.num_bytes());
  }
  int row_;
};

// Every token is turned by the angle of the one behind it in the rank's share.
class TurnsByTheNextPosition final : public Rotary {
 public:
  explicit TurnsByTheNextPosition(Kernels right) : right_(std::move(right)) {}

 private:
  static Tensor moved(const Context& context, const Tensor& table) {
    const Tensor out = context.empty(table.shape(), table.dtype());
    const int64_t n = table.size(0);
    for (int64_t t = 0; t < n; ++t) {
      std::memcpy(out.select(0, t).raw(), table.select(0, std::min(t + 1, n - 1)).raw(),
                  table.num_bytes() / static_cast<size_t>(n));
    }
    return out;
  }
  void do_rotate(const Context& context, RotaryDirection direction, const Tensor& cosine, const Tensor& sine,
                 const Tensor& x) const override {
    right_->get<Rotary>().rotate(context, direction, moved(context, cosine), moved(context, sine), x);
  }
  Kernels right_;
};

// Of the products that accumulate gradients of parameters, the `wrong`-th is added `times` times.
class AddsAProduct final : public LinearAlgebra {
 public:
  AddsAProduct(Kernels right, int wrong, int times) : right_(std::move(right)), wrong_(wrong), times_(times) {}

 private:
  void do_gemm(const Context& context, const GemmOptions& options, const Tensor& a, const Tensor& b,
               const Tensor& c) const override {
    const bool gradient = options.write == Write::kAccumulate && options.a == Transpose::kYes;
    const int times = gradient && count_++ == wrong_ ? times_ : 1;
    for (int i = 0; i < times; ++i) right_->get<LinearAlgebra>().gemm(context, options, a, b, c);
  }
  Kernels right_;
  int wrong_, times_;
  mutable std::atomic<int> count_ = 0;
};

// The loss's gradient is this many times what it should be.
class ScalesTheGradient final : public Loss {
 public:
  ScalesTheGradient(Kernels right, double factor) : right_(std::move(right)), factor_(factor) {}

 private:
  void do_cross_entropy(const Context& context, const Tensor& logits, const Tensor& targets, double gradient_scale,
                        const Tensor& losses, const Tensor& dlogits) const override {
    const auto& loss = right_->get<Loss>();
    if (!dlogits.defined()) return loss.cross_entropy(context, logits, targets, losses);
    loss.cross_entropy_with_gradient(context, logits, targets, factor_ * gradient_scale, losses, dlogits);
  }
  void do_partial(const Context& context, const VocabularySlice& slice, const Tensor& logits, const Tensor& targets,
                  const Tensor& parts) const override {
    right_->get<Loss>().partial_cross_entropy(context, slice, logits, targets, parts);
  }
  void do_combine(const Context& context, const VocabularySlice& slice, const Tensor& parts, const Tensor& targets,
                  const Tensor& losses, const Tensor& totals) const override {
    right_->get<Loss>().combine_cross_entropy(context, slice, parts, targets, losses, totals);
  }
  void do_gradient(const Context& context, const VocabularySlice& slice, const Tensor& logits, const Tensor& targets,
                   double gradient_scale, const Tensor& totals, const Tensor& dlogits) const override {
    right_->get<Loss>().cross_entropy_gradient(context, slice, logits, targets, factor_ * gradient_scale, totals, dlogits);
  }
  Kernels right_;
  double factor_;
};

// One row of the gradient of logits gets lost, of every tile.
class DropsARowOfLogits final : public Loss {
 public:
  DropsARowOfLogits(Kernels right, int row) : right_(std::move(right)), row_(row) {}

 private:
  const Loss& right() const { return right_->get<Loss>(); }
  void do_cross_entropy(const Context& context, const Tensor& logits, const Tensor& targets, double gradient_scale,
                        const Tensor& losses, const Tensor& dlogits) const override {
    if (!dlogits.defined()) return right().cross_entropy(context, logits, targets, losses);
    right().cross_entropy_with_gradient(context, logits, targets, gradient_scale, losses, dlogits);
    drop(dlogits);
  }
  void do_partial(const Context& context, const VocabularySlice& slice, const Tensor& logits, const Tensor& targets,
                  const Tensor& parts) const override {
    right().partial_cross_entropy(context, slice, logits, targets, parts);
  }
  void do_combine(const Context& context, const VocabularySlice& slice, const Tensor& parts, const Tensor& targets,
                  const Tensor& losses, const Tensor& totals) const override {
    right().combine_cross_entropy(context, slice, parts, targets, losses, totals);
  }
  void do_gradient(const Context& context, const VocabularySlice& slice, const Tensor& logits, const Tensor& targets,
                   double gradient_scale, const Tensor& totals, const Tensor& dlogits) const override {
    right().cross_entropy_gradient(context, slice, logits, targets, gradient_scale, totals, dlogits);
    drop(dlogits);
  }
  void drop(const Tensor& dlogits) const {
    const Tensor row = dlogits.select(0, row_);
    std::memset(row.raw(), 0, row.num_bytes());
  }
  Kernels right_;
  int row_;
};

// What arrives of the sums of dK and dV is added twice.
class AddsArrivalsTwice final : public Elementwise {
 public:
  explicit AddsArrivalsTwice(Kernels right) : right_(std::move(right)) {}

 private:
  const Elementwise& right() const { return right_->get<Elementwise>(); }
  void do_add(const Context& context, const Tensor& a, const Tensor& b, const Tensor& sum) const override {
    right().add(context, a, b, sum);
  }
  void do_accumulate(const Context& context, const Tensor& x, const Tensor& sum) const override {
    right().accumulate(context, x, sum);
    right().accumulate(context, x, sum);
  }
  void do_convert(const Context& context, const Tensor& from, const Tensor& to) const override {
    right().convert(context, from, to);
  }
  void do_add_bias(const Context& context, const Tensor& bias, const Tensor& y) const override {
    right().add_bias(context, bias, y);
  }
  void do_accumulate_rows(const Context& context, const Tensor& x, const Tensor& sum) const override {
    right().accumulate_rows(context, x, sum);
  }
  Kernels right_;
};

}  // namespace longspan::test
