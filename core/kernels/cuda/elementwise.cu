#include "core/kernels/cuda/kernels.h"
#include "core/kernels/cuda/row_sums.h"

namespace longspan::LS_CUDA {

namespace {

// sum = a + b; sum may be either
template <class A, class B, class Sum, int kWidth>
__global__ void add_kernel(int64_t count, const A* a, const B* b, Sum* sum) {
  for_each_piece<kWidth>(count, [&]<int w>(int64_t i, Width<w>) {
    Floats<w> values = load_floats<w>(a + i);
    const Floats<w> others = load_floats<w>(b + i);
#pragma unroll
    for (int j = 0; j < w; ++j) values[j] += others[j];
    store_floats(sum + i, values);
  });
}

template <class From, class To, int kWidth>
__global__ void convert_kernel(int64_t count, const From* from, To* to) {
  for_each_piece<kWidth>(count, [&]<int w>(int64_t i, Width<w>) { store_floats(to + i, load_floats<w>(from + i)); });
}

template <class T, int kWidth>
__global__ void add_bias_kernel(int64_t rows, int64_t n, const T* bias, T* y) {
  for_each_row(rows, [&](int64_t row) {
    for_each_piece_of_row<kWidth>(n, [&]<int w>(int64_t i, Width<w>) {
      Floats<w> values = load_floats<w>(y + row * n + i);
      const Floats<w> added = load_floats<w>(bias + i);
#pragma unroll
      for (int j = 0; j < w; ++j) values[j] += added[j];
      store_floats(y + row * n + i, values);
    });
  });
}

template <class T>
struct RowElements {
  const T* x;
  int64_t n;
  template <int w>
  LS_DEVICE Floats<w> operator()(int64_t row, int64_t i, Width<w>) const {
    return load_floats<w>(x + row * n + i);
  }
};

}  // namespace

void launch_add(NativeStream stream, DType dtype, int64_t count, const void* a, const void* b, void* sum) {
  with_elements(dtype, all_aligned(a, b, sum), [&]<class T, int w>(T, Width<w>) {
    launch(stream, add_kernel<T, T, T, w>, shape_for_pieces(count / w), count, static_cast<const T*>(a),
           static_cast<const T*>(b), static_cast<T*>(sum));
  });
}

void launch_accumulate(NativeStream stream, DType dtype, int64_t count, const void* x, float* sum) {
  with_elements(dtype, all_aligned(x, sum), [&]<class T, int w>(T, Width<w>) {
    launch(stream, add_kernel<T, float, float, w>, shape_for_pieces(count / w), count, static_cast<const T*>(x),
           static_cast<const float*>(sum), sum);
  });
}

void launch_convert(NativeStream stream, int64_t count, DType from_dtype, const void* from, DType to_dtype, void* to) {
  with_elements(from_dtype, all_aligned(from, to), [&]<class From, int w>(From, Width<w>) {
    with_dtype(to_dtype, [&]<class To>(To) {
      launch(stream, convert_kernel<From, To, w>, shape_for_pieces(count / w), count, static_cast<const From*>(from),
             static_cast<To*>(to));
    });
  });
}

void launch_add_bias(NativeStream stream, DType dtype, int64_t rows, int64_t n, const void* bias, void* y) {
  with_elements(dtype, rows_aligned(dtype, n, bias, y), [&]<class T, int w>(T, Width<w>) {
    launch(stream, add_bias_kernel<T, w>, shape_for_rows(rows, n / w), rows, n, static_cast<const T*>(bias),
           static_cast<T*>(y));
  });
}

void launch_accumulate_rows(NativeStream stream, DType dtype, int64_t rows, int64_t n, const void* x, float* parts,
                            float* sum) {
  with_elements(dtype, rows_aligned(dtype, n, x), [&]<class T, int w>(T, Width<w>) {
    launch_row_sums<w>(stream, rows, n, RowElements<T>{static_cast<const T*>(x), n}, parts, sum);
  });
}

}  // namespace longspan::LS_CUDA
