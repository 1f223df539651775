#include "attention/prefix_attention.h"

#include "attention/block_passes.h"
#include "core/kernels/elementwise.h"

namespace longspan {

namespace {

void add_to(Context& context, const Tensor& x, Tensor& sum) {
  if (!sum.defined()) sum = context.zeros(x.shape(), x.dtype(), MemoryTag::kStash);
  context.kernels<Elementwise>().accumulate(context, x, sum);
}

}  // namespace

Tensor PrefixAttention::do_forward(Context& context, const Tensor& q, const Tensor& k, const Tensor& v, const TileMap& tiles,
                                   AttentionStash* stash) const {
  const auto own = static_cast<size_t>(tiles.rank());
  chunks_[own].k = k;
  chunks_[own].v = v;
  ForwardPass pass(context, q, scale_, kept_in(stash));
  for (size_t c = 0; c <= own; ++c) {
    check(chunks_[c].k.defined(), "chunk {} of a sequence goes forward without chunk {}", own, c);
    pass.attend(chunks_[c].k, chunks_[c].v, tiles.keys_of(static_cast<int>(c)), static_cast<int>(c));
  }
  Tensor output = pass.finish();
  if (stash) *stash = {.q = q, .k = k, .v = v, .output = output, .lse = pass.lse(), .parts = {}, .num_kv_heads = 0};
  return output;
}

QkvGradient PrefixAttention::do_backward(Context& context, const Tensor& doutput, const TileMap& tiles,
                                         AttentionStash& stash) const {
  const auto own = static_cast<size_t>(tiles.rank());
  if (own + 1 < chunks_.size()) {
    check(!chunks_[own + 1].k.defined(), "chunk {} of a sequence goes backward before chunk {}", own, own + 1);
  }
  BackwardPass pass(context, stash, doutput, scale_);
  for (size_t c = 0; c <= own; ++c) {
    const std::vector<Tensor> dkv =
        pass.attend(chunks_[c].k, chunks_[c].v, tiles.keys_of(static_cast<int>(c)), static_cast<int>(c));
    add_to(context, dkv[0], chunks_[c].dk);
    add_to(context, dkv[1], chunks_[c].dv);
  }
  QkvGradient gradient = {.dq = pass.dq(), .dk = std::move(chunks_[own].dk), .dv = std::move(chunks_[own].dv)};
  chunks_[own] = {};
  return gradient;
}

}  // namespace longspan
