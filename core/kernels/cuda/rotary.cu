#include "core/kernels/cuda/ptx/elements.h"
#include "core/kernels/cuda/kernels.h"

namespace longspan::LS_CUDA {

namespace {

// A thread turns kWidth pairs of one head.
template <class T, int kWidth>
__global__ void rotate_kernel(RotaryArguments a) {
  const int64_t half = a.head_dim / 2, pieces = half / kWidth;
  T* const x = static_cast<T*>(a.x);
  for_each_piece<1>(a.tokens * a.heads * pieces, [&](int64_t piece, Width<1>) {
    const int64_t i = piece % pieces * kWidth, head = piece / pieces % a.heads, token = piece / pieces / a.heads;
    T* const first = x + token * a.token_stride + head * a.head_stride + i;
    const Floats<kWidth> cosine = load_floats<kWidth>(a.cosine + token * half + i),
                         sine = load_floats<kWidth>(a.sine + token * half + i), left = load_floats<kWidth>(first),
                         right = load_floats<kWidth>(first + half);
    Floats<kWidth> turned_left, turned_right;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const float s = a.sign * sine[j];
      turned_left[j] = left[j] * cosine[j] - right[j] * s;
      turned_right[j] = right[j] * cosine[j] + left[j] * s;
    }
    store_floats(first, turned_left);
    store_floats(first + half, turned_right);
  });
}

}  // namespace

void launch_rotate(NativeStream stream, DType dtype, const RotaryArguments& a) {
  const auto whole = [&](int64_t elements, size_t bytes) { return static_cast<size_t>(elements) * bytes % 16 == 0; };
  const size_t bytes = size_bytes(dtype);
  const bool aligned = all_aligned(a.x, a.cosine, a.sine) && whole(a.head_dim / 2, bytes) && whole(a.token_stride, bytes) &&
                       whole(a.head_stride, bytes);
  with_elements(dtype, aligned, [&]<class T, int w>(T, Width<w>) {
    launch(stream, rotate_kernel<T, w>, shape_for_pieces(a.tokens * a.heads * (a.head_dim / 2 / w)), a);
  });
}

}  // namespace longspan::LS_CUDA
