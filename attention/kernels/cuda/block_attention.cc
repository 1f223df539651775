#include "attention/kernels/cuda/block_attention.h"

#include <algorithm>
#include <limits>
#include <span>
#include <tuple>

#include "attention/kernels/block_attention.h"
#include "attention/kernels/cuda/kernels.h"

namespace longspan::LS_CUDA {

namespace {

static_assert(sizeof(TileInterval) == sizeof(KeyIntervals::Tile) && kTile == KeyIntervals::kTileQueries);

// The intervals in one piece of device memory.
struct DeviceIntervals {
  Tensor table;
  Intervals intervals;
};

// For each tile of keys the queries between the first and the last that see one of them.
std::vector<QueryRange> seers(const KeyIntervals& visible) {
  std::vector<QueryRange> ranges(static_cast<size_t>((visible.num_keys() + kTile - 1) / kTile),
                                 {std::numeric_limits<int32_t>::max(), 0});
  int32_t query = 0;
  for (const KeyIntervals::Tile& tile : visible.tiles()) {
    const auto end = static_cast<int32_t>(std::min<int64_t>(query + kTile, visible.num_queries()));
    for (int32_t k = tile.any_begin / kTile; tile.any_begin < tile.any_end && k <= (tile.any_end - 1) / kTile; ++k) {
      QueryRange& range = ranges[static_cast<size_t>(k)];
      range = {std::min(range.begin, query), std::max(range.end, end)};
    }
    query = end;
  }
  return ranges;
}

std::shared_ptr<const DeviceIntervals> upload(const Context& context, const KeyIntervals& visible) {
  const std::vector<QueryRange> key_tiles = seers(visible);
  const std::span<const std::byte> parts[] = {std::as_bytes(visible.begin()), std::as_bytes(visible.end()),
                                              std::as_bytes(visible.tiles()), std::as_bytes(std::span(key_tiles))};
  constexpr size_t kWords = 4;  // a part begins at 16 bytes
  size_t places[5] = {};
  for (size_t i = 0; i < 4; ++i) places[i + 1] = places[i] + (parts[i].size() + 4 * kWords - 1) / (4 * kWords) * kWords;
  const Tensor table = context.host().empty({static_cast<int64_t>(places[4])}, DType::kInt32, MemoryTag::kWorkspace);
  for (size_t i = 0; i < 4; ++i) {
    std::copy(parts[i].begin(), parts[i].end(), static_cast<std::byte*>(table.raw()) + 4 * places[i]);
  }
  auto device = std::make_shared<DeviceIntervals>();
  device->table = context.to_device(table, MemoryTag::kWorkspace);
  const auto* words = device->table.data<int32_t>();
  const auto [begin, end, query_tiles, keys] = std::tuple(places[0], places[1], places[2], places[3]);
  device->intervals = {words + begin, words + end, reinterpret_cast<const TileInterval*>(words + query_tiles),
                       reinterpret_cast<const QueryRange*>(words + keys)};
  return device;
}

const Intervals& on_device(const Context& context, const KeyIntervals& visible) {
  std::shared_ptr<const void>& kept = visible.on_device();
  if (!kept) kept = upload(context, visible);
  return static_cast<const DeviceIntervals*>(kept.get())->intervals;
}

Strided strided(const Tensor& tensor) {
  const Shape& strides = tensor.layout().strides();
  return {tensor.raw(), strides[0], strides[1]};
}

class CudaAttention final : public BlockAttention {
  void do_clear(const Context& context, const Tensor& lse) const override {
    expect_dtype_here(lse.dtype());
    launch_fill(context.stream().native(), lse.num_elements(), -std::numeric_limits<float>::infinity(), lse.data<float>());
  }

  void do_forward(const Context& context, const AttentionBlock& block, const AttentionState& state) const override {
    ForwardArguments a{};
    a.shape = shape_of(block);
    a.visible = on_device(context, *block.visible);
    a.q = strided(block.q), a.k = strided(block.k), a.v = strided(block.v);
    a.output = state.output.data<float>(), a.lse = state.lse.data<float>();
    const Strided operands[] = {a.q, a.k, a.v};
    if (block.q.dtype() == DType::kBFloat16 && takes_matrices(a.shape, operands, 3, kMostMatrixForwardHeadDim)) {
      launch_matrix_forward(context.stream().native(), a);
    } else {
      launch_plain_forward(context.stream().native(), block.q.dtype(), a);
    }
  }

  void do_delta(const Context& context, const Tensor& output, const Tensor& doutput, const Tensor& delta) const override {
    expect_dtype_here(doutput.dtype());
    launch_delta(context.stream().native(), output.dtype(), doutput.dtype(),
                 {output.size(0), output.size(1), output.size(2), strided(output), strided(doutput), delta.data<float>()});
  }

  void do_backward(const Context& context, const AttentionBlock& block, const AttentionGradient& g) const override {
    BackwardArguments a{};
    a.shape = shape_of(block);
    a.visible = on_device(context, *block.visible);
    a.q = strided(block.q), a.k = strided(block.k), a.v = strided(block.v), a.doutput = strided(g.doutput);
    a.lse = g.lse.data<float>(), a.delta = g.delta.data<float>();
    a.dq = g.dq.data<float>(), a.dk = g.dk.data<float>(), a.dv = g.dv.data<float>();
    const Strided operands[] = {a.q, a.k, a.v, a.doutput};
    if (block.q.dtype() == DType::kBFloat16 && takes_matrices(a.shape, operands, 4, kMostMatrixBackwardHeadDim)) {
      launch_matrix_backward(context.stream().native(), a);
    } else {
      launch_plain_backward(context.stream().native(), block.q.dtype(), a);
    }
  }

  static void expect_dtype_here(DType dtype) {
    expect_supported(dtype, {DType::kFloat32, DType::kBFloat16}, "cuda", kName);
  }

  static AttentionShape shape_of(const AttentionBlock& block) {
    expect_dtype_here(block.q.dtype());
    check(block.q.size(2) <= kMostHeadDim, "a head has {} elements, and these kernels take up to {}", block.q.size(2),
          kMostHeadDim);
    const auto size = [](int64_t n) {
      check(n <= std::numeric_limits<int32_t>::max(), "{} tokens or heads in one block of attention", n);
      return static_cast<int32_t>(n);
    };
    return {size(block.q.size(0)), size(block.k.size(0)), size(block.q.size(1)), size(block.k.size(1)),
            static_cast<int32_t>(block.q.size(2)), static_cast<float>(block.scale)};
  }
};

}  // namespace

void add_attention(KernelSet& kernels) { kernels.add<BlockAttention>(std::make_shared<CudaAttention>()); }

}  // namespace longspan::LS_CUDA
