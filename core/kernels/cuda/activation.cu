#include "core/kernels/cuda/ptx/elements.h"
#include "core/kernels/cuda/kernels.h"

namespace longspan::LS_CUDA {

namespace {

constexpr float kLog2E = 1.44269504088896340736f;

LS_DEVICE float sigmoid(float x) { return 1.0f / (1.0f + exp2_approximate(-x * kLog2E)); }

template <class T, int kWidth>
__global__ void swiglu_forward_kernel(int64_t count, const T* gate, const T* up, T* y) {
  for_each_piece<kWidth>(count, [&]<int w>(int64_t i, Width<w>) {
    const Floats<w> z = load_floats<w>(gate + i), u = load_floats<w>(up + i);
    Floats<w> result;
#pragma unroll
    for (int j = 0; j < w; ++j) result[j] = z[j] * sigmoid(z[j]) * u[j];
    store_floats(y + i, result);
  });
}

// y = z s(z) u:  dz = dy u s (1 + z (1 - s)),  du = dy z s
template <class T, int kWidth>
__global__ void swiglu_backward_kernel(int64_t count, const T* dy, const T* gate, const T* up, T* dgate, T* dup) {
  for_each_piece<kWidth>(count, [&]<int w>(int64_t i, Width<w>) {
    const Floats<w> d = load_floats<w>(dy + i), z = load_floats<w>(gate + i), u = load_floats<w>(up + i);
    Floats<w> dz, du;
#pragma unroll
    for (int j = 0; j < w; ++j) {
      const float s = sigmoid(z[j]);
      dz[j] = d[j] * u[j] * s * (1.0f + z[j] * (1.0f - s));
      du[j] = d[j] * z[j] * s;
    }
    store_floats(dgate + i, dz);
    store_floats(dup + i, du);
  });
}

}  // namespace

void launch_swiglu_forward(NativeStream stream, DType dtype, int64_t count, const void* gate, const void* up, void* y) {
  with_elements(dtype, all_aligned(gate, up, y), [&]<class T, int w>(T, Width<w>) {
    launch(stream, swiglu_forward_kernel<T, w>, shape_for_pieces(count / w), count, static_cast<const T*>(gate),
           static_cast<const T*>(up), static_cast<T*>(y));
  });
}

void launch_swiglu_backward(NativeStream stream, DType dtype, int64_t count, const SwigluBackward& a) {
  with_elements(dtype, all_aligned(a.dy, a.gate, a.up, a.dgate, a.dup), [&]<class T, int w>(T, Width<w>) {
    launch(stream, swiglu_backward_kernel<T, w>, shape_for_pieces(count / w), count, static_cast<const T*>(a.dy),
           static_cast<const T*>(a.gate), static_cast<const T*>(a.up), static_cast<T*>(a.dgate), static_cast<T*>(a.dup));
  });
}

}  // namespace longspan::LS_CUDA
