// Block attention in bfloat16 on a tile unit: packs keys once for all query heads of their group, hands tiles of queries to
// threads, and lets another backend do what is not bfloat16.
//
// Work is cut into windows, so that packed copies stay bounded (kWorkspace). Windows, their division and the order of all sums
// follow from the shape alone: the same bits whatever the number of threads.
#pragma once

#include <memory>

#include "attention/kernels/block_attention.h"
#include "attention/kernels/cpu/amx/tasks.h"

namespace longspan {

// How much is packed at a time. More than `bytes` where one key head with `tokens` keys and queries (of all heads of its
// group together) needs it.
struct TileWindows {
  int64_t bytes = int64_t{64} << 20;
  int64_t tokens = 16384;
};

// `rest` computes delta, and all of other dtypes.
std::shared_ptr<const BlockAttention> make_tile_attention(const TileKernels& kernels,
                                                          std::shared_ptr<const BlockAttention> rest,
                                                          const TileWindows& windows = {});

// What backward holds of packed queries and keys and of sums of gradients, while every query sees all keys or those before it.
int64_t tile_backward_bytes(const TileWindows& windows, const AttentionBlockShape& shape);

void tile_attention_forward(const Context& context, const TileKernels& kernels, const TileWindows& windows,
                            const AttentionBlock& block, const AttentionState& state);
void tile_attention_backward(const Context& context, const TileKernels& kernels, const TileWindows& windows,
                             const AttentionBlock& block, const AttentionGradient& gradient);

}  // namespace longspan
