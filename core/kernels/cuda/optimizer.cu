#include "core/kernels/cuda/kernels.h"
#include "core/kernels/cuda/rows.h"

namespace longspan::LS_CUDA {

namespace {

template <class T, int kWidth>
__global__ void adamw_kernel(AdamWArguments a) {
  for_each_piece<kWidth>(a.count, [&]<int w>(int64_t i, Width<w>) {
    const Floats<w> gradients = load_floats<w>(a.gradient + i);
    Floats<w> weights = load_floats<w>(a.master + i), first = load_floats<w>(a.first_moment + i),
              second = load_floats<w>(a.second_moment + i);
#pragma unroll
    for (int j = 0; j < w; ++j) {
      const float g = gradients[j] * a.gradient_scale;
      first[j] = a.beta1 * first[j] + a.one_minus_beta1 * g;
      second[j] = a.beta2 * second[j] + a.one_minus_beta2 * g * g;
      const float root = square_root(second[j]) * a.root_correction + a.epsilon;
      weights[j] -= a.decay * weights[j] + a.rate * first[j] / root;
    }
    store_floats(a.first_moment + i, first);
    store_floats(a.second_moment + i, second);
    store_floats(a.master + i, weights);
    if (a.value != a.master) store_floats(static_cast<T*>(a.value) + i, weights);
  });
}

// parts[block] = the sum of squares of what the block's threads meet, thread by thread and then in a tree.
template <class T, int kWidth>
__global__ void sum_of_squares_kernel(int64_t count, const T* x, double* parts) {
  double sum = 0;
  for_each_piece<kWidth>(count, [&]<int w>(int64_t i, Width<w>) {
    const Floats<w> values = load_floats<w>(x + i);
#pragma unroll
    for (int j = 0; j < w; ++j) sum += static_cast<double>(values[j]) * static_cast<double>(values[j]);
  });
  const int thread = thread_index();
  const uint32_t mine = shared_base() + 8 * thread;
  for (int step = num_threads() / 2; step > 0; step /= 2) {
    if (thread >= step && thread < 2 * step) store_shared(mine, sum);
    sync_block();
    if (thread < step) sum += load_shared<double>(mine + 8 * step);
  }
  if (thread == 0) store_global(parts + block_index().x, sum);
}

}  // namespace

void launch_adamw(NativeStream stream, DType dtype, const AdamWArguments& a) {
  const bool aligned = all_aligned(a.gradient, a.master, a.first_moment, a.second_moment, a.value);
  with_elements(dtype, aligned, [&]<class T, int w>(T, Width<w>) {
    constexpr int kWidth = w == 1 ? 1 : 4;  // as many as 16 bytes have of what is read most
    launch(stream, adamw_kernel<T, kWidth>, shape_for_pieces(a.count / kWidth), a);
  });
}

void launch_sum_of_squares(NativeStream stream, DType dtype, int64_t count, const void* x, double* parts) {
  LaunchShape shape;
  shape.grid[0] = static_cast<unsigned>(sum_of_squares_parts(count));
  shape.threads = kElementThreads;
  shape.shared_bytes = kElementThreads * sizeof(double);
  with_elements(dtype, all_aligned(x), [&]<class T, int w>(T, Width<w>) {
    launch(stream, sum_of_squares_kernel<T, w>, shape, count, static_cast<const T*>(x), parts);
  });
}

}  // namespace longspan::LS_CUDA
