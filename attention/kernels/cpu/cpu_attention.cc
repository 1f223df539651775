// Block attention on the host: heads and tiles of queries are handed to threads, the vectorised kernels do the rest.
#include <algorithm>
#include <vector>

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

// In how many pieces the keys of one head are worked on. A function of the shape alone, so that sums have one order whatever
// the number of threads.
int64_t num_key_pieces(int64_t num_kv_heads, int64_t num_keys) {
  if (num_keys < 2 * kSuperBlockKeys) return 1;
  return std::max<int64_t>(1, 4 / num_kv_heads);
}

void add_transposed(const float* tiles, int64_t num_queries, int64_t head_dim, Rows<float> dq) {
  for (int64_t q = 0; q < num_queries; ++q) {
    const float* tile = tiles + q / kLanes * head_dim * kLanes + q % kLanes;
    for (int64_t d = 0; d < head_dim; ++d) dq.data[q * dq.stride + d] += tile[d * kLanes];
  }
}

class CpuAttention final : public BlockAttention {
 public:
  explicit CpuAttention(CpuLevel level)
      : float_kernels_(kernels_of<float>(level)), bfloat16_kernels_(kernels_of<bfloat16>(level)) {}

 private:
  void do_forward(const Context& context, const AttentionBlock& block, const AttentionState& state) const override {
    if (block.q.dtype() == DType::kFloat32) {
      run_forward(context, float_kernels_, block, state);
    } else {
      run_forward(context, bfloat16_kernels_, block, state);
    }
  }

  void do_backward(const Context& context, const AttentionBlock& block, const AttentionGradient& g) const override {
    if (block.q.dtype() == DType::kFloat32) {
      run_backward(context, float_kernels_, block, g);
    } else {
      run_backward(context, bfloat16_kernels_, block, g);
    }
  }

  void do_delta(const Context& context, const Tensor& output, const Tensor& doutput, const Tensor& delta) const override {
    if (output.dtype() == DType::kFloat32 && doutput.dtype() == DType::kFloat32) {
      run_delta<float, float>(context, output, doutput, delta);
    } else if (output.dtype() == DType::kFloat32) {
      run_delta<float, bfloat16>(context, output, doutput, delta);
    } else {
      run_delta<bfloat16, bfloat16>(context, output, doutput, delta);
    }
  }

  template <class T>
  static void run_forward(const Context& context, const HeadKernels<T>& kernels, const AttentionBlock& block,
                          const AttentionState& state) {
    const int64_t num_heads = block.q.size(1), group = num_heads / block.k.size(1), head_dim = block.q.size(2);
    const auto num_tiles = static_cast<int64_t>(block.visible->tiles().size());
    const int64_t num_strips = (num_tiles + kForwardTiles - 1) / kForwardTiles;
    std::vector<std::vector<float>> scratch(static_cast<size_t>(context.num_threads()));
    // The last strips of a causal shard see most keys; they go first, so that no thread ends long after the others.
    parallel_tasks(context, num_heads * num_strips, [&](int64_t task, int thread) {
      const int64_t head = task % num_heads, strip = num_strips - 1 - task / num_heads;
      auto& mine = scratch[static_cast<size_t>(thread)];
      mine.resize(static_cast<size_t>(forward_scratch(head_dim)));
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
                       .scratch = mine.data(),
                       .progress = progress_of(context, thread)});
    });
  }

  template <class A, class B>
  static void run_delta(const Context& context, const Tensor& output, const Tensor& doutput, const Tensor& delta) {
    const auto o = output.view<A, 3>();
    const auto g = doutput.view<B, 3>();
    const auto sums = delta.view<float, 2>();
    parallel_for(context, o.size(0), 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        for (int64_t h = 0; h < o.size(1); ++h) {
          float sum = 0;
          for (int64_t d = 0; d < o.size(2); ++d) sum += static_cast<float>(o(i, h, d)) * static_cast<float>(g(i, h, d));
          sums(h, i) = sum;
        }
      }
    });
  }

  // A task is (key head, piece of its keys): it alone writes those rows of dk and dv, one query head of the group after the
  // other. dq gets one partial sum from each piece, added in order at the end.
  template <class T>
  static void run_backward(const Context& context, const HeadKernels<T>& kernels, const AttentionBlock& block,
                           const AttentionGradient& gradient) {
    const int64_t num_queries = block.q.size(0), num_heads = block.q.size(1), head_dim = block.q.size(2);
    const int64_t num_kv_heads = block.k.size(1), group = num_heads / num_kv_heads, num_keys = block.k.size(0);
    const int64_t num_pieces = num_key_pieces(num_kv_heads, num_keys);
    const int64_t dq_size = static_cast<int64_t>(block.visible->tiles().size()) * kLanes * head_dim;
    const Tensor partial = context.zeros({num_pieces, num_heads, dq_size}, DType::kFloat32, MemoryTag::kWorkspace);
    std::vector<std::vector<float>> scratch(static_cast<size_t>(context.num_threads()));
    parallel_tasks(context, num_kv_heads * num_pieces, [&](int64_t task, int thread) {
      const int64_t kv_head = task % num_kv_heads, piece = task / num_kv_heads;
      auto& mine = scratch[static_cast<size_t>(thread)];
      mine.resize(static_cast<size_t>(backward_scratch(num_queries, head_dim)));
      for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
        kernels.backward({.q = head_of<const T>(block.q, head),
                          .k = head_of<const T>(block.k, kv_head),
                          .v = head_of<const T>(block.v, kv_head),
                          .doutput = head_of<const T>(gradient.doutput, head),
                          .lse = gradient.lse.data<float>() + head * num_queries,
                          .delta = gradient.delta.data<float>() + head * num_queries,
                          .dk = head_of<float>(gradient.dk, kv_head),
                          .dv = head_of<float>(gradient.dv, kv_head),
                          .dq_tiles = partial.data<float>() + (piece * num_heads + head) * dq_size,
                          .visible = visibility_of(*block.visible),
                          .key_begin = num_keys * piece / num_pieces,
                          .key_end = num_keys * (piece + 1) / num_pieces,
                          .head_dim = head_dim,
                          .scale = static_cast<float>(block.scale),
                          .scratch = mine.data(),
                          .progress = progress_of(context, thread)});
      }
    });
    parallel_tasks(context, num_heads, [&](int64_t head, int) {
      for (int64_t piece = 0; piece < num_pieces; ++piece) {
        add_transposed(partial.data<float>() + (piece * num_heads + head) * dq_size, num_queries, head_dim,
                       head_of<float>(gradient.dq, head));
      }
    });
  }

  HeadKernels<float> float_kernels_;
  HeadKernels<bfloat16> bfloat16_kernels_;
};

}  // namespace

void add_cpu_attention(KernelSet& kernels, CpuLevel level) {
  kernels.add<BlockAttention>(std::make_shared<CpuAttention>(level));
}

void add_cpu_attention(KernelSet& kernels) { add_cpu_attention(kernels, detect_cpu_level()); }

}  // namespace longspan
