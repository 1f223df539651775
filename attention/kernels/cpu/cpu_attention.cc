// Block attention on the host: heads and tiles of queries are handed to threads, the vectorised kernels do the rest.
#include <algorithm>

#include "attention/kernels/block_attention.h"
#include "attention/kernels/cpu/amx/tile_attention.h"
#include "attention/kernels/cpu/division.h"
#include "attention/kernels/cpu/head_tasks.h"
#include "attention/kernels/cpu/task_parts.h"
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
  if (level == CpuLevel::kAvx512Bf16) return avx512_bf16::bfloat16_kernels();
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

// Floats for each thread, aligned as vectors like it.
Tensor thread_scratch(const Context& context, int64_t num_floats) {
  return context.empty({context.num_threads(), num_floats}, DType::kFloat32, MemoryTag::kWorkspace);
}
float* scratch_of(const Tensor& scratch, int thread) { return scratch.data<float>() + thread * scratch.size(1); }

class CpuAttention final : public BlockAttention {
 public:
  explicit CpuAttention(CpuLevel level)
      : float_kernels_(kernels_of<float>(vector_level(level))),
        bfloat16_kernels_(kernels_of<bfloat16>(std::min(level, CpuLevel::kAvx512Bf16))) {}

 private:
  void do_forward(const Context& context, const AttentionBlock& block, const AttentionState& state) const override {
    dispatch(block.q.dtype(), [&](const auto& kernels) { run_forward(context, kernels, block, state); });
  }
  void do_clear(const Context&, const Tensor& lse) const override { clear_on_host(lse); }
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
    const std::vector<ForwardStrip> strips = divide_forward(*block.visible, kernels.sizes);
    const Tensor scratch = thread_scratch(context, kernels.forward_scratch(head_dim));
    parallel_tasks(context, static_cast<int64_t>(strips.size()) * num_heads, [&](int64_t task, int thread) {
      const ForwardStrip& strip = strips[static_cast<size_t>(task / num_heads)];
      const int64_t head = task % num_heads;
      kernels.forward({.q = head_of<const T>(block.q, head),
                       .k = head_of<const T>(block.k, head / group),
                       .v = head_of<const T>(block.v, head / group),
                       .output = head_of<float>(state.output, head),
                       .lse = state.lse.data<float>() + head * block.q.size(0),
                       .visible = visibility_of(*block.visible),
                       .first_tile = strip.first_tile,
                       .num_tiles = strip.num_tiles,
                       .head_dim = head_dim,
                       .scale = static_cast<float>(block.scale),
                       .scratch = scratch_of(scratch, thread),
                       .progress = progress_of(context, thread),
                       .upcoming = upcoming_of<T>(block, strips, task + context.num_threads())});
    });
  }

  // The rows of a task; of many keys, the first. Of task + num_threads, since a thread takes about that one after `task`.
  template <class T>
  static Upcoming<T> upcoming_of(const AttentionBlock& block, const std::vector<ForwardStrip>& strips, int64_t task) {
    constexpr int64_t kMostKeys = 256;  // beside those in use, what the second cache of a core holds
    const int64_t num_heads = block.q.size(1), group = num_heads / block.k.size(1), head = task % num_heads;
    const auto at = static_cast<size_t>(task / num_heads);
    if (at >= strips.size()) return {};
    const int64_t first_tile = strips[at].first_tile, first_query = first_tile * kLanes;
    int64_t key_begin = block.visible->num_keys(), key_end = 0;
    const auto num_tiles = static_cast<size_t>(strips[at].num_tiles);
    for (const KeyIntervals::Tile& tile : block.visible->tiles().subspan(static_cast<size_t>(first_tile), num_tiles)) {
      if (tile.any_begin == tile.any_end) continue;
      key_begin = std::min<int64_t>(key_begin, tile.any_begin);
      key_end = std::max<int64_t>(key_end, tile.any_end);
    }
    const auto from = [](Rows<const T> rows, int64_t row) {
      return Rows<const T>{rows.data + row * rows.stride, rows.stride};
    };
    return {.q = from(head_of<const T>(block.q, head), first_query),
            .k = from(head_of<const T>(block.k, head / group), key_begin),
            .v = from(head_of<const T>(block.v, head / group), key_begin),
            .num_queries = std::min(strips[at].num_tiles * kLanes, block.q.size(0) - first_query),
            .num_keys = std::min(key_end - key_begin, kMostKeys)};
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
    const int64_t head_dim = block.q.size(2);
    const BackwardDivision division = divide_backward(*block.visible, block.k.size(1), kernels.sizes);
    const Tensor scratch = thread_scratch(context, kernels.backward_scratch(division.tiles_per_chunk, head_dim));
    parallel_tasks(context, OrderedTasks(division.holds), [&](int64_t task, int thread) {
      const BackwardCell& cell = division.cells[static_cast<size_t>(task)];
      BackwardTask<T> work;
      work.visible = visibility_of(*block.visible);
      work.first_tile = cell.first_tile;
      work.num_tiles = cell.num_tiles;
      work.key_begin = cell.key_begin;
      work.key_end = cell.key_end;
      work.head_dim = head_dim;
      work.scale = static_cast<float>(block.scale);
      work.scratch = scratch_of(scratch, thread);
      work.progress = progress_of(context, thread);
      backward_of_group(kernels, block, gradient, cell.kv_head, work);
    });
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
  std::shared_ptr<const BlockAttention> attention = std::make_shared<CpuAttention>(level);
#if defined(__x86_64__)
  if (level == CpuLevel::kAmx) attention = make_tile_attention(amx::tile_kernels(), attention);
#endif
  kernels.add<BlockAttention>(attention);
}

int64_t cpu_attention_workspace_bytes(DType dtype, CpuLevel level, const AttentionBlockShape& shape) {
  const bool in_tiles = level == CpuLevel::kAmx && dtype == DType::kBFloat16;
  return in_tiles ? tile_backward_bytes({}, shape) : 0;
}

void add_cpu_attention(KernelSet& kernels) { add_cpu_attention(kernels, detect_cpu_level()); }

}  // namespace longspan
