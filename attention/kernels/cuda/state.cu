// What is computed once per row of attention: delta, and the empty state.
#include "attention/kernels/cuda/kernels.h"
#include "core/kernels/cuda/ptx/elements.h"
#include "core/kernels/cuda/ptx/warp.h"

namespace longspan::LS_CUDA {

namespace {

constexpr unsigned kThreads = 128;

// A warp per (head, query).
template <class Output, class Gradient, int kWidth>
__global__ void delta_kernel(DeltaArguments a) {
  const int64_t warps = static_cast<int64_t>(num_blocks().x) * (num_threads() / kWarpSize);
  for (int64_t row = block_index().x * (num_threads() / kWarpSize) + warp_index(); row < a.num_heads * a.num_queries;
       row += warps) {
    const int64_t head = row / a.num_queries, query = row % a.num_queries;
    const auto* output = static_cast<const Output*>(a.output.data) + query * a.output.token_stride + head * a.output.head_stride;
    const auto* gradient =
        static_cast<const Gradient*>(a.doutput.data) + query * a.doutput.token_stride + head * a.doutput.head_stride;
    float sum = 0;
    for (int64_t d = lane_index() * kWidth; d < a.head_dim; d += kWarpSize * kWidth) {
      const Floats<kWidth> left = load_floats<kWidth>(output + d), right = load_floats<kWidth>(gradient + d);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) sum += left[j] * right[j];
    }
    sum = sum_over_warp(sum);
    if (lane_index() == 0) store_global(a.delta + row, sum);
  }
}

template <int kWidth>
__global__ void fill_kernel(int64_t count, float value, float* to) {
  for_each_piece<kWidth>(count, [&]<int w>(int64_t i, Width<w>) {
    Floats<w> values;
#pragma unroll
    for (int j = 0; j < w; ++j) values[j] = value;
    store_floats(to + i, values);
  });
}

}  // namespace

void launch_delta(NativeStream stream, DType output_dtype, DType doutput_dtype, const DeltaArguments& a) {
  LaunchShape shape = shape_for_pieces(a.num_heads * a.num_queries * kWarpSize);
  shape.threads = kThreads;
  constexpr int kWidth = 8;  // 16 bytes of bfloat16
  const auto whole = [](const Strided& x) {
    return x.token_stride % kWidth == 0 && x.head_stride % kWidth == 0 && all_aligned(x.data);
  };
  const bool aligned = a.head_dim % kWidth == 0 && whole(a.output) && whole(a.doutput);
  with_dtype(output_dtype, [&]<class Output>(Output) {
    with_dtype(doutput_dtype, [&]<class Gradient>(Gradient) {
      if (aligned) launch(stream, delta_kernel<Output, Gradient, kWidth>, shape, a);
      else launch(stream, delta_kernel<Output, Gradient, 1>, shape, a);
    });
  });
}

void launch_fill(NativeStream stream, int64_t count, float value, float* to) {
  if (all_aligned(to)) launch(stream, fill_kernel<4>, shape_for_pieces(count / 4), count, value, to);
  else launch(stream, fill_kernel<1>, shape_for_pieces(count), count, value, to);
}

}  // namespace longspan::LS_CUDA
