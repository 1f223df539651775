// TiledLoss: the linear head and the cross-entropy together, tile of tokens by tile, so that no buffer of
// tokens x vocabulary exists (Wijmans et al. 2024; Hsu et al. 2024, "chunked" form).
//
// Unlike other layers, forward with a stash also does the whole backward of a tile while its logits are at hand: it leaves dx in
// the stash and accumulates the head's weight gradient. That saves the product that would rebuild the logits. Logits stay in the
// accumulator, since rounding them to bfloat16 would show in the loss; their gradients take the logits' place
// (Loss::gradient_over).
#pragma once

#include "core/nn/parameter.h"

namespace longspan {

class TiledLoss {
 public:
  struct Stash {
    Tensor dx;
    template <class F>
    void for_each_storage(F visit) {
      visit(dx);
    }
  };
  TiledLoss(const Parameter& weight, int64_t tile_tokens) : weight_(weight), tile_tokens_(tile_tokens) {}

  // For each tile the head's weight gradient is read and written once, in fp32. By the data sheet of an H100 that takes nearly as
  // long as the product over 1,024 tokens that it is for, and a fifth of one over 4,096, where logits of 128k words take 2 GiB.
  static constexpr int64_t default_tile_tokens(DeviceType device) { return device == DeviceType::kCuda ? 4096 : 1024; }

  // x [tokens, hidden]; targets int32 [tokens], kNoTarget where nothing is predicted. Returns the losses [tokens],
  // accumulator. gradient_scale: the derivative of the objective by each loss (1 / predicted tokens of the global batch).
  Tensor forward(Context& context, const Tensor& x, const Tensor& targets, double gradient_scale, Stash* stash) const;
  Tensor backward_input(Stash& stash) const { return std::exchange(stash.dx, {}); }
  // [tokens, vocabulary], accumulator; for a few tokens at a time.
  Tensor logits(Context& context, const Tensor& x) const;

 private:
  const Parameter& weight_;  // [vocabulary, hidden]
  int64_t tile_tokens_;
};

}  // namespace longspan
