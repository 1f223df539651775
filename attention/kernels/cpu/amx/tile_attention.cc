#include "attention/kernels/cpu/amx/tile_attention.h"

#include "attention/kernels/cpu/amx/driver.h"

namespace longspan {

namespace tile_driver {

Span seen_keys(const KeyIntervals& visible, Span tiles) {
  Span seen{.begin = visible.num_keys(), .end = 0};
  for (int64_t t = tiles.begin; t < tiles.end; ++t) {
    const KeyIntervals::Tile& tile = visible.tiles()[static_cast<size_t>(t)];
    if (tile.any_begin == tile.any_end) continue;
    seen.begin = std::min<int64_t>(seen.begin, tile.any_begin);
    seen.end = std::max<int64_t>(seen.end, tile.any_end);
  }
  if (seen.begin >= seen.end) return {};
  return seen;
}

}  // namespace tile_driver

namespace {

class TileAttention final : public BlockAttention {
 public:
  TileAttention(const TileKernels& kernels, std::shared_ptr<const BlockAttention> rest, const TileWindows& windows)
      : kernels_(kernels), rest_(std::move(rest)), windows_(windows) {}

 private:
  void do_forward(const Context& context, const AttentionBlock& block, const AttentionState& state) const override {
    if (block.q.dtype() == DType::kBFloat16) {
      tile_attention_forward(context, kernels_, windows_, block, state);
    } else {
      rest_->forward(context, block, state);
    }
  }
  void do_clear(const Context& context, const Tensor& lse) const override { rest_->clear(context, lse); }
  void do_delta(const Context& context, const Tensor& output, const Tensor& doutput, const Tensor& delta) const override {
    rest_->delta(context, output, doutput, delta);
  }
  void do_backward(const Context& context, const AttentionBlock& block, const AttentionGradient& g) const override {
    if (block.q.dtype() == DType::kBFloat16) {
      tile_attention_backward(context, kernels_, windows_, block, g);
    } else {
      rest_->backward(context, block, g);
    }
  }

  TileKernels kernels_;
  std::shared_ptr<const BlockAttention> rest_;
  TileWindows windows_;
};

}  // namespace

std::shared_ptr<const BlockAttention> make_tile_attention(const TileKernels& kernels,
                                                          std::shared_ptr<const BlockAttention> rest,
                                                          const TileWindows& windows) {
  return std::make_shared<TileAttention>(kernels, std::move(rest), windows);
}

}  // namespace longspan
