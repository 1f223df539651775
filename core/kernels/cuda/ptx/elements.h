// For kernels bound by memory, in both rooms that have some: elements of any dtype as floats, 16 bytes at a time where pointers
// allow.
#pragma once

#include <type_traits>

#include "core/kernels/cuda/ptx/launch.h"
#include "core/kernels/cuda/ptx/math.h"
#include "core/kernels/cuda/ptx/memory.h"
#include "core/tensor/dtype.h"

namespace longspan::LS_CUDA {

template <int kWidth>
struct Floats {
  float elements[kWidth];
  LS_DEVICE float& operator[](int i) { return elements[i]; }
  LS_DEVICE float operator[](int i) const { return elements[i]; }
};

// kWidth elements from an address that is aligned to them, or to 16 bytes where they are more.
template <int kWidth, class T>
LS_DEVICE Floats<kWidth> load_floats(const T* from, LS_LINE) {
  constexpr int kStep = kWidth * sizeof(T) > 16 ? static_cast<int>(16 / sizeof(T)) : kWidth;
  Floats<kWidth> floats;
#pragma unroll
  for (int first = 0; first < kWidth; first += kStep) {
    const auto vector = load_global(reinterpret_cast<const Vector<T, kStep>*>(from + first), line);
#pragma unroll
    for (int i = 0; i < kStep; ++i) floats[first + i] = to_float(vector[i]);
  }
  return floats;
}

template <int kWidth, class T>
LS_DEVICE void store_floats(T* to, const Floats<kWidth>& floats, LS_LINE) {
  constexpr int kStep = kWidth * sizeof(T) > 16 ? static_cast<int>(16 / sizeof(T)) : kWidth;
#pragma unroll
  for (int first = 0; first < kWidth; first += kStep) {
    Vector<T, kStep> vector;
#pragma unroll
    for (int i = 0; i < kStep; ++i) vector[i] = from_float<T>(floats[first + i]);
    store_global(reinterpret_cast<Vector<T, kStep>*>(to + first), vector, line);
  }
}

template <int kWidth>
using Width = std::integral_constant<int, kWidth>;

// The threads of all blocks together: body(first element, Width<w>) for each piece of w elements; single ones at the end.
template <int kWidth, class Body>
LS_DEVICE void for_each_piece(int64_t count, Body body) {
  const int64_t threads = static_cast<int64_t>(num_blocks().x) * num_threads();
  const int64_t thread = static_cast<int64_t>(block_index().x) * num_threads() + thread_index(), pieces = count / kWidth;
  for (int64_t i = thread; i < pieces; i += threads) body(i * kWidth, Width<kWidth>{});
  if constexpr (kWidth > 1)
    for (int64_t i = pieces * kWidth + thread; i < count; i += threads) body(i, Width<1>{});
}

// On the host ----------------------------------------------------------------------------------------------------------

constexpr unsigned kElementThreads = 256;
constexpr int64_t kMostElementBlocks = 2048;  // enough to fill any device; a block goes on with the next piece

inline LaunchShape shape_for_pieces(int64_t pieces) {
  const int64_t blocks = (pieces + kElementThreads - 1) / kElementThreads;
  LaunchShape shape;
  shape.grid[0] = static_cast<unsigned>(blocks < 1 ? 1 : blocks < kMostElementBlocks ? blocks : kMostElementBlocks);
  shape.threads = kElementThreads;
  return shape;
}

template <class... Pointers>
bool all_aligned(const Pointers*... pointers) {
  return ((reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...);
}

// Calls body(T{}).
template <class Body>
void with_dtype(DType dtype, Body body) {
  if (dtype == DType::kFloat32) body(float{});
  else body(bfloat16{});
}
// Calls body(T{}, Width<w>{}): 16 bytes of T, or one element where pointers are not aligned.
template <class Body>
void with_elements(DType dtype, bool aligned, Body body) {
  with_dtype(dtype, [&]<class T>(T element) {
    if (aligned) body(element, Width<static_cast<int>(16 / sizeof(T))>{});
    else body(element, Width<1>{});
  });
}

}  // namespace longspan::LS_CUDA
