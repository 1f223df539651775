// Block attention on the host: heads and tiles of queries are handed to threads, the vectorised kernels do the rest.
#include <algorithm>

#include "attention/kernels/block_attention.h"
#include "attention/kernels/cpu/head_tasks.h"
#include "core/base/cpu_level.h"
#include "core/runtime/parallel.h"

namespace longspan {

namespace {

template <class T>
HeadKernels<T> kernels_of(CpuLevel level);

template <>
HeadKernels<float> kernels_of<float>(CpuLevel level) {
#if defined(__x86_64__)
  if (level == CpuLevel::kAvx512) return avx512::float_kernels();
  if (level == CpuLevel::kAvx2) return avx2::float_kernels();
#endif
  check(level == CpuLevel::kPortable, "this build has no {} kernels", name(level));
  return portable::float_kernels();
}

template <>
HeadKernels<bfloat16> kernels_of<bfloat16>(CpuLevel level) {
#if defined(__x86_64__)
  if (level == CpuLevel::kAvx512) return avx512::bfloat16_kernels();
  if (level == CpuLevel::kAvx2) return avx2::bfloat16_kernels();
#endif
  check(level == CpuLevel::kPortable, "this build has no {} kernels", name(level));
  return portable::bfloat16_kernels();
}

// One head of a [tokens, heads, head_dim] tensor.
template <class T>
Rows<T> head_of(const Tensor& tensor, int64_t head) {
  const auto view = tensor.view<std::remove_const_t<T>, 3>();
  return {view.data + head * view.stride(1), view.stride(0)};
}

Visibility visibility_of(const KeyIntervals& intervals) {
  return {.tiles = intervals.tiles().data(),
          .begin = intervals.begin().data(),
          .end = intervals.end().data(),
          .num_queries = intervals.num_queries()};
}

// Long tasks keep communication moving, on the rank's own thread.
Progress progress_of(const Context& context, int thread) {
  if (thread != 0) return {};
  return {.call = [](const void* c) { static_cast<const Context*>(c)->progress(); }, .argument = &context};
}

// How backward is cut into chunks of queries and pieces of keys, `size` of each. In wave w, piece j meets chunk
// (w + j) mod size: no two tasks of a wave share rows of dq, dk or dv, and each row is added to in the order of the waves.
// A function of the shape alone: sums have one order whatever the number of threads, and need no partial copies.
struct BackwardGrid {
  int64_t size = 1;
  int64_t tiles_per_chunk = 0, keys_per_piece = 0;
};

BackwardGrid choose_grid(int64_t num_tiles, int64_t num_keys, int64_t num_kv_heads) {
  constexpr int64_t kTasksPerWave = 64;  // enough for many threads, though later waves of a causal shard have fewer
  constexpr int64_t kLeastTokens = 512;  // below, transposition and start-up show
  constexpr int64_t kMostTiles = 8192 / kLanes;  // bounds the scratch of a thread
  const auto divide_up = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  const int64_t longest = std::max(num_tiles * kLanes, num_keys);
  const int64_t useful = std::min(divide_up(kTasksPerWave, num_kv_heads), longest / kLeastTokens);
  const int64_t size = std::max({int64_t{1}, useful, divide_up(num_tiles, kMostTiles)});
  return {.size = size,
          .tiles_per_chunk = divide_up(num_tiles, size),
          .keys_per_piece = divide_up(divide_up(num_keys, size), kBlockKeys) * kBlockKeys};
}

// Floats for each thread, aligned as vectors like it.
Tensor thread_scratch(const Context& context, int64_t num_floats) {
  return context.empty({context.num_threads(), num_floats}, DType::kFloat32, MemoryTag::kWorkspace);
}
float* scratch_of(const Tensor& scratch, int thread) { return scratch.data<float>() + thread * scratch.size(1); }

template <class T>
bool sees_some(const BackwardTask<T>& work) {
  const KeyIntervals::Tile* tiles = work.visible.tiles + work.first_tile;
  return std::any_of(tiles, tiles + work.num_tiles, [&](const KeyIntervals::Tile& tile) {
    return std::max<int64_t>(tile.any_begin, work.key_begin) < std::min<int64_t>(tile.any_end, work.key_end);
  });
}

class CpuAttention final : public BlockAttention {
 public:
  explicit CpuAttention(CpuLevel level)
      : float_kernels_(kernels_of<float>(vector_level(level))),
        bfloat16_kernels_(kernels_of<bfloat16>(vector_level(level))) {}

 private:
  void do_forward(const Context& context, const AttentionBlock& block, const AttentionState& state) const override {
    dispatch(block.q.dtype(), [&](const auto& kernels) { run_forward(context, kernels, block, state); });
  }
  void do_delta(const Context& context, const Tensor& output, const Tensor& doutput, const Tensor& delta) const override {
    dispatch(doutput.dtype(), [&]<class T>(const HeadKernels<T>& kernels) {
      if (output.dtype() == dtype_of<T>()) {
        run_delta<T, T>(context, kernels.delta, output, doutput, delta);
      } else {
        run_delta<float, T>(context, kernels.delta_of_accumulator, output, doutput, delta);
      }
    });
  }
  void do_backward(const Context& context, const AttentionBlock& block, const AttentionGradient& g) const override {
    dispatch(block.q.dtype(), [&](const auto& kernels) { run_backward(context, kernels, block, g); });
  }

  template <class Body>
  void dispatch(DType dtype, const Body& body) const {
    expect_supported(dtype, {DType::kFloat32, DType::kBFloat16}, "cpu", kName);
    if (dtype == DType::kFloat32) {
      body(float_kernels_);
    } else {
      body(bfloat16_kernels_);
    }
  }

  template <class T>
  static void run_forward(const Context& context, const HeadKernels<T>& kernels, const AttentionBlock& block,
                          const AttentionState& state) {
    const int64_t num_heads = block.q.size(1), group = num_heads / block.k.size(1), head_dim = block.q.size(2);
    const auto num_tiles = static_cast<int64_t>(block.visible->tiles().size());
    const int64_t num_strips = (num_tiles + kForwardTiles - 1) / kForwardTiles;
    const Tensor scratch = thread_scratch(context, forward_scratch(head_dim));
    // The last strips of a causal shard see most keys; they go first, so that no thread ends long after the others.
    parallel_tasks(context, num_heads * num_strips, [&](int64_t task, int thread) {
      const int64_t head = task % num_heads, strip = num_strips - 1 - task / num_heads;
      kernels.forward({.q = head_of<const T>(block.q, head),
                       .k = head_of<const T>(block.k, head / group),
                       .v = head_of<const T>(block.v, head / group),
                       .output = head_of<float>(state.output, head),
                       .lse = state.lse.data<float>() + head * block.q.size(0),
                       .visible = visibility_of(*block.visible),
                       .first_tile = strip * kForwardTiles,
                       .num_tiles = std::min(kForwardTiles, num_tiles - strip * kForwardTiles),
                       .head_dim = head_dim,
                       .scale = static_cast<float>(block.scale),
                       .scratch = scratch_of(scratch, thread),
                       .progress = progress_of(context, thread)});
    });
  }

  template <class Output, class T>
  static void run_delta(const Context& context, void (*kernel)(const DeltaTask<Output, T>&), const Tensor& output,
                        const Tensor& doutput, const Tensor& delta) {
    parallel_for(context, output.size(0), 64, [&](int64_t begin, int64_t end) {
      for (int64_t head = 0; head < output.size(1); ++head) {
        const Rows<const Output> o = head_of<const Output>(output, head);
        const Rows<const T> g = head_of<const T>(doutput, head);
        kernel({.output = {o.data + begin * o.stride, o.stride},
                .doutput = {g.data + begin * g.stride, g.stride},
                .num_rows = end - begin,
                .head_dim = output.size(2),
                .sums = delta.data<float>() + head * output.size(0) + begin});
      }
    });
  }

  template <class T>
  static void run_backward(const Context& context, const HeadKernels<T>& kernels, const AttentionBlock& block,
                           const AttentionGradient& gradient) {
    const int64_t head_dim = block.q.size(2), num_kv_heads = block.k.size(1), num_keys = block.k.size(0);
    const auto num_tiles = static_cast<int64_t>(block.visible->tiles().size());
    const BackwardGrid grid = choose_grid(num_tiles, num_keys, num_kv_heads);
    const Tensor scratch = thread_scratch(context, backward_scratch(grid.tiles_per_chunk, head_dim));
    for (int64_t wave = 0; wave < grid.size; ++wave) {
      parallel_tasks(context, num_kv_heads * grid.size, [&](int64_t task, int thread) {
        const int64_t piece = task / num_kv_heads, chunk = (wave + piece) % grid.size;
        const int64_t first_tile = chunk * grid.tiles_per_chunk, key_begin = piece * grid.keys_per_piece;
        if (first_tile >= num_tiles || key_begin >= num_keys) return;
        BackwardTask<T> work;
        work.visible = visibility_of(*block.visible);
        work.first_tile = first_tile;
        work.num_tiles = std::min(grid.tiles_per_chunk, num_tiles - first_tile);
        work.key_begin = key_begin;
        work.key_end = std::min(key_begin + grid.keys_per_piece, num_keys);
        work.head_dim = head_dim;
        work.scale = static_cast<float>(block.scale);
        work.scratch = scratch_of(scratch, thread);
        work.progress = progress_of(context, thread);
        if (sees_some(work)) backward_of_group(kernels, block, gradient, task % num_kv_heads, work);
      });
    }
  }

  // The query heads that share a key head, one after the other.
  template <class T>
  static void backward_of_group(const HeadKernels<T>& kernels, const AttentionBlock& block,
                                const AttentionGradient& gradient, int64_t kv_head, BackwardTask<T> work) {
    const int64_t num_queries = block.q.size(0), group = block.q.size(1) / block.k.size(1);
    work.k = head_of<const T>(block.k, kv_head);
    work.v = head_of<const T>(block.v, kv_head);
    work.dk = head_of<float>(gradient.dk, kv_head);
    work.dv = head_of<float>(gradient.dv, kv_head);
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      work.q = head_of<const T>(block.q, head);
      work.doutput = head_of<const T>(gradient.doutput, head);
      work.dq = head_of<float>(gradient.dq, head);
      work.lse = gradient.lse.data<float>() + head * num_queries;
      work.delta = gradient.delta.data<float>() + head * num_queries;
      kernels.backward(work);
    }
  }

  HeadKernels<float> float_kernels_;
  HeadKernels<bfloat16> bfloat16_kernels_;
};

}  // namespace

void add_cpu_attention(KernelSet& kernels, CpuLevel level) {
  expect_runs_here(level);
  kernels.add<BlockAttention>(std::make_shared<CpuAttention>(level));
}

void add_cpu_attention(KernelSet& kernels) { add_cpu_attention(kernels, detect_cpu_level()); }

}  // namespace longspan
