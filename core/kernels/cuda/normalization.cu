#include "core/kernels/cuda/kernels.h"
#include "core/kernels/cuda/rows.h"
#include "core/kernels/cuda/row_sums.h"

namespace longspan::LS_CUDA {

namespace {

// y = (x + residual) * weight / rms. A row is read twice, the second time from cache; what is stored has been read by the same
// thread, so that sum may be x or residual.
template <class T, int kWidth, bool kResidual>
__global__ void rms_norm_forward_kernel(int64_t rows, int64_t n, float epsilon, const T* x, const T* residual, const T* weight,
                                        T* sum, T* y, float* inverse_rms) {
  for_each_row(rows, [&](int64_t row) {
    const auto load = [&]<int w>(int64_t i, Width<w>) {
      Floats<w> values = load_floats<w>(x + row * n + i);
      if constexpr (kResidual) {
        const Floats<w> added = load_floats<w>(residual + row * n + i);
#pragma unroll
        for (int j = 0; j < w; ++j) values[j] += added[j];
      }
      return values;
    };
    float squares = 0;
    for_each_piece_of_row<kWidth>(n, [&]<int w>(int64_t i, Width<w> width) {
      const Floats<w> values = load(i, width);
#pragma unroll
      for (int j = 0; j < w; ++j) squares += values[j] * values[j];
    });
    const float inverse = 1.0f / square_root(sum_over_block(squares) / static_cast<float>(n) + epsilon);
    for_each_piece_of_row<kWidth>(n, [&]<int w>(int64_t i, Width<w> width) {
      Floats<w> values = load(i, width);
      if constexpr (kResidual) store_floats(sum + row * n + i, values);
      const Floats<w> weights = load_floats<w>(weight + i);
#pragma unroll
      for (int j = 0; j < w; ++j) values[j] *= inverse * weights[j];
      store_floats(y + row * n + i, values);
    });
    if (thread_index() == 0) store_global(inverse_rms + row, inverse);
  });
}

// dx = r (dy w - x r^2 mean(dy w x)) + residual
template <class T, int kWidth, bool kResidual>
__global__ void rms_norm_backward_kernel(int64_t rows, int64_t n, const T* dy, const T* x, const T* weight,
                                         const float* inverse_rms, const T* residual, T* dx) {
  for_each_row(rows, [&](int64_t row) {
    float products = 0;
    for_each_piece_of_row<kWidth>(n, [&]<int w>(int64_t i, Width<w>) {
      const Floats<w> d = load_floats<w>(dy + row * n + i), values = load_floats<w>(x + row * n + i),
                      weights = load_floats<w>(weight + i);
#pragma unroll
      for (int j = 0; j < w; ++j) products += d[j] * weights[j] * values[j];
    });
    const float r = load_global(inverse_rms + row);
    const float slope = sum_over_block(products) / static_cast<float>(n) * r * r;
    for_each_piece_of_row<kWidth>(n, [&]<int w>(int64_t i, Width<w>) {
      const Floats<w> d = load_floats<w>(dy + row * n + i), values = load_floats<w>(x + row * n + i),
                      weights = load_floats<w>(weight + i);
      Floats<w> result;
#pragma unroll
      for (int j = 0; j < w; ++j) result[j] = r * (d[j] * weights[j] - values[j] * slope);
      if constexpr (kResidual) {
        const Floats<w> added = load_floats<w>(residual + row * n + i);
#pragma unroll
        for (int j = 0; j < w; ++j) result[j] += added[j];
      }
      store_floats(dx + row * n + i, result);
    });
  });
}

// What rms_norm_backward_weight adds up.
template <class T>
struct WeightGradient {
  const T *dy, *x;
  const float* inverse_rms;
  int64_t n;
  template <int w>
  LS_DEVICE Floats<w> operator()(int64_t row, int64_t i, Width<w>) const {
    Floats<w> d = load_floats<w>(dy + row * n + i);
    const Floats<w> values = load_floats<w>(x + row * n + i);
    const float r = load_global(inverse_rms + row);
#pragma unroll
    for (int j = 0; j < w; ++j) d[j] *= values[j] * r;
    return d;
  }
};

}  // namespace

void launch_rms_norm_forward(NativeStream stream, DType dtype, const RmsNormForward& a) {
  with_elements(dtype, rows_aligned(dtype, a.n, a.x, a.residual, a.weight, a.sum, a.y), [&]<class T, int w>(T, Width<w>) {
    const auto kernel = a.residual ? rms_norm_forward_kernel<T, w, true> : rms_norm_forward_kernel<T, w, false>;
    launch(stream, kernel, shape_for_rows(a.rows, a.n / w), a.rows, a.n, a.epsilon, static_cast<const T*>(a.x),
           static_cast<const T*>(a.residual), static_cast<const T*>(a.weight), static_cast<T*>(a.sum), static_cast<T*>(a.y),
           a.inverse_rms);
  });
}

void launch_rms_norm_backward(NativeStream stream, DType dtype, const RmsNormBackward& a) {
  with_elements(dtype, rows_aligned(dtype, a.n, a.dy, a.x, a.weight, a.residual, a.dx), [&]<class T, int w>(T, Width<w>) {
    const auto kernel = a.residual ? rms_norm_backward_kernel<T, w, true> : rms_norm_backward_kernel<T, w, false>;
    launch(stream, kernel, shape_for_rows(a.rows, a.n / w), a.rows, a.n, static_cast<const T*>(a.dy),
           static_cast<const T*>(a.x), static_cast<const T*>(a.weight), a.inverse_rms, static_cast<const T*>(a.residual),
           static_cast<T*>(a.dx));
  });
}

void launch_rms_norm_backward_weight(NativeStream stream, DType dtype, const RmsNormBackwardWeight& a) {
  with_elements(dtype, rows_aligned(dtype, a.n, a.dy, a.x), [&]<class T, int w>(T, Width<w>) {
    const WeightGradient<T> gradient{static_cast<const T*>(a.dy), static_cast<const T*>(a.x), a.inverse_rms, a.n};
    launch_row_sums<w>(stream, a.rows, a.n, gradient, a.parts, a.dweight);
  });
}

}  // namespace longspan::LS_CUDA
