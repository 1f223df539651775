#include "core/kernels/cuda/kernels.h"
#include "core/kernels/cuda/rows.h"

namespace longspan::LS_CUDA {

namespace {

constexpr float kLog2E = 1.44269504088896340736f, kLn2 = 0.69314718055994530942f;

constexpr float kLowest = -3.402823466e38f;

struct Softmax {
  float most, sum;  // the largest of some logits, and the sum of e^(logit - most)
};

// Of this thread's pieces of a row, in one pass (Milakov and Gimelshein 2018).
template <int kWidth>
LS_DEVICE Softmax softmax_of_thread(int64_t n, const float* logits) {
  Softmax s = {kLowest, 0};
  for_each_piece_of_row<kWidth>(n, [&]<int w>(int64_t i, Width<w>) {
    const Floats<w> values = load_floats<w>(logits + i);
    float largest = s.most;
#pragma unroll
    for (int j = 0; j < w; ++j) largest = maximum(values[j], largest);
    s.sum *= exp2_approximate((s.most - largest) * kLog2E);
    s.most = largest;
#pragma unroll
    for (int j = 0; j < w; ++j) s.sum += exp2_approximate((values[j] - s.most) * kLog2E);
  });
  return s;
}

// dlogits[i] = scale * e^(logit - most), less hit_scale where i is the target; zeros where nothing counts. The threads of the
// block together. Where gradients lie over their logits and are smaller (`shares`), a thread waits until the block has read.
struct GradientRow {
  bool counts;
  int64_t target;
  float most, scale, hit_scale;
  bool shares;
};
template <class T, int kWidth>
LS_DEVICE void write_gradient(const GradientRow& row, int64_t n, const float* logits, T* gradients) {
  for (int64_t first = 0; first < n; first += num_threads() * kWidth) {
    const int64_t i = first + thread_index() * kWidth;
    Floats<kWidth> values{};
    if (i < n) values = load_floats<kWidth>(logits + i);
    if (row.shares) sync_block();
    if (i >= n) continue;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      values[j] = row.counts ? row.scale * exp2_approximate((values[j] - row.most) * kLog2E) : 0.0f;
      if (row.counts && i + j == row.target) values[j] -= row.hit_scale;
    }
    store_floats(gradients + i, values);
  }
}

// Row by row: the maximum and the sum of exponentials in one pass (Milakov and Gimelshein 2018), then the gradient. A logit is
// read for the last time by the thread that overwrites it, but the target's, which is read before; and but those under a gradient
// of half their size, whose thread waits until the block has read its logits: what it writes then ends before where they began.
template <class T, int kWidth, bool kGradient>
__global__ void cross_entropy_kernel(CrossEntropyArguments a) {
  for_each_row(a.tokens, [&](int64_t t) {
    const float* const logits = a.logits + t * a.vocabulary;
    const int32_t target = load_global(a.targets + t);
    const bool counts = target >= 0 && target < a.vocabulary;
    const auto [most, sum] = softmax_of_thread<kWidth>(a.vocabulary, logits);
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
      const bool shares = sizeof(T) < sizeof(float) && a.dlogits == a.logits;
      write_gradient<T, kWidth>({counts, target, row_most, scale, a.gradient_scale, shares}, a.vocabulary, logits,
                                static_cast<T*>(a.dlogits) + t * a.gradient_stride);
    }
  });
}

template <int kWidth>
__global__ void partial_kernel(PartialCrossEntropyArguments a) {
  for_each_row(a.tokens, [&](int64_t t) {
    const float* const logits = a.logits + t * a.held;
    const auto [most, sum] = softmax_of_thread<kWidth>(a.held, logits);
    const float row_most = max_over_block(most);
    const float row_sum = sum_over_block(sum * exp2_approximate((most - row_most) * kLog2E));
    if (thread_index() != 0) return;
    const int64_t target = load_global(a.targets + t), place = target - a.first;
    store_global(a.parts + t, row_most);
    store_global(a.parts + a.tokens + t, row_sum);
    store_global(a.parts + 2 * a.tokens + t,
                 target >= 0 && place >= 0 && place < a.held ? load_global(logits + place) : 0.0f);
  });
}

__global__ void combine_kernel(CombineCrossEntropyArguments a) {
  for_each_piece<1>(a.tokens, [&](int64_t t, Width<1>) {
    const auto at = [&](int64_t rank, int64_t which) { return load_global(a.parts + (rank * 3 + which) * a.tokens + t); };
    float most = kLowest, sum = 0, logit = 0;
    for (int64_t r = 0; r < a.ranks; ++r) most = maximum(at(r, 0), most);
    for (int64_t r = 0; r < a.ranks; ++r) {
      sum += at(r, 1) * exp2_approximate((at(r, 0) - most) * kLog2E);
      logit += at(r, 2);
    }
    store_global(a.totals + t, most);
    store_global(a.totals + a.tokens + t, sum);
    const int32_t target = load_global(a.targets + t);
    const bool counts = target >= 0 && target < a.vocabulary;
    store_global(a.losses + t, counts ? log2_approximate(sum) * kLn2 + (most - logit) : 0.0f);
  });
}

template <class T, int kWidth>
__global__ void gradient_kernel(CrossEntropyGradientArguments a) {
  for_each_row(a.tokens, [&](int64_t t) {
    const int64_t target = load_global(a.targets + t);
    const bool counts = target >= 0 && target < a.vocabulary;
    const float scale = a.gradient_scale / load_global(a.totals + a.tokens + t);
    const bool shares = sizeof(T) < sizeof(float) && a.dlogits == a.logits;
    write_gradient<T, kWidth>({counts, target - a.first, load_global(a.totals + t), scale, a.gradient_scale, shares}, a.held,
                              a.logits + t * a.held, static_cast<T*>(a.dlogits) + t * a.gradient_stride);
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

void launch_partial_cross_entropy(NativeStream stream, const PartialCrossEntropyArguments& a) {
  with_elements(DType::kFloat32, rows_aligned(DType::kFloat32, a.held, a.logits), [&]<class T, int w>(T, Width<w>) {
    launch(stream, partial_kernel<w>, shape_for_rows(a.tokens, a.held / w), a);
  });
}

void launch_combine_cross_entropy(NativeStream stream, const CombineCrossEntropyArguments& a) {
  launch(stream, combine_kernel, shape_for_pieces(a.tokens), a);
}

void launch_cross_entropy_gradient(NativeStream stream, DType gradient_dtype, const CrossEntropyGradientArguments& a) {
  const bool aligned = rows_aligned(DType::kBFloat16, a.held, a.logits, a.dlogits);
  with_elements(gradient_dtype, aligned, [&]<class T, int w>(T, Width<w>) {
    launch(stream, gradient_kernel<T, w>, shape_for_rows(a.tokens, a.held / w), a);
  });
}

}  // namespace longspan::LS_CUDA
