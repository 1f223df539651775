#include "core/kernels/cuda/kernels.h"
#include "core/kernels/cuda/rows.h"

namespace longspan::LS_CUDA {

namespace {

constexpr float kLog2E = 1.44269504088896340736f, kLn2 = 0.69314718055994530942f;

// Row by row: the maximum and the sum of exponentials in one pass (Milakov and Gimelshein 2018), then the gradient. A logit is read
// for the last time by the thread that overwrites it, but the target's, which is read before; and but those under a gradient of
// half their size, whose thread waits until the block has read its logits: what it writes then ends before where they began.
template <class T, int kWidth, bool kGradient>
__global__ void cross_entropy_kernel(CrossEntropyArguments a) {
  for_each_row(a.tokens, [&](int64_t t) {
    const float* const logits = a.logits + t * a.vocabulary;
    const int32_t target = load_global(a.targets + t);
    const bool counts = target >= 0 && target < a.vocabulary;
    constexpr float kLowest = -3.402823466e38f;
    float most = kLowest, sum = 0;
    for_each_piece_of_row<kWidth>(a.vocabulary, [&]<int w>(int64_t i, Width<w>) {
      const Floats<w> values = load_floats<w>(logits + i);
      float largest = most;
#pragma unroll
      for (int j = 0; j < w; ++j) largest = maximum(values[j], largest);
      sum *= exp2_approximate((most - largest) * kLog2E);
      most = largest;
#pragma unroll
      for (int j = 0; j < w; ++j) sum += exp2_approximate((values[j] - most) * kLog2E);
    });
    const float row_most = max_over_block(most);
    // Before the barriers of the sum, beyond which another thread may overwrite it.
    const float at_target = counts ? load_global(logits + target) : 0.0f;
    const float row_sum = sum_over_block(sum * exp2_approximate((most - row_most) * kLog2E));
    if (thread_index() == 0) {
      const float loss = counts ? log2_approximate(row_sum) * kLn2 + (row_most - at_target) : 0.0f;
      store_global(a.losses + t, loss);
    }
    if constexpr (kGradient) {
      const float scale = counts ? a.gradient_scale / row_sum : 0.0f;
      T* const gradients = static_cast<T*>(a.dlogits) + t * a.gradient_stride;
      const bool shares = sizeof(T) < sizeof(float) && a.dlogits == a.logits;
      for (int64_t first = 0; first < a.vocabulary; first += num_threads() * kWidth) {
        const int64_t i = first + thread_index() * kWidth;
        Floats<kWidth> values{};
        if (i < a.vocabulary) values = load_floats<kWidth>(logits + i);
        if (shares) sync_block();
        if (i >= a.vocabulary) continue;
#pragma unroll
        for (int j = 0; j < kWidth; ++j) {
          values[j] = counts ? scale * exp2_approximate((values[j] - row_most) * kLog2E) : 0.0f;
          if (counts && i + j == target) values[j] -= a.gradient_scale;
        }
        store_floats(gradients + i, values);
      }
    }
  });
}

}  // namespace

void launch_cross_entropy(NativeStream stream, DType gradient_dtype, const CrossEntropyArguments& a) {
  const bool aligned = rows_aligned(DType::kBFloat16, a.vocabulary, a.logits, a.dlogits);
  with_elements(gradient_dtype, aligned, [&]<class T, int w>(T, Width<w>) {
    const auto kernel = a.dlogits ? cross_entropy_kernel<T, w, true> : cross_entropy_kernel<T, w, false>;
    launch(stream, kernel, shape_for_rows(a.tokens, a.vocabulary / w), a);
  });
}

}  // namespace longspan::LS_CUDA
