#include "core/kernels/cpu/vector/elements.h"

namespace longspan::LS_CPU_LEVEL {

namespace {

template <class T, class Read, class Store>
inline void rotate_vector(T* first, T* second, FloatV cosine, FloatV sine, Read read, Store write) {
  const FloatV a = read(first), b = read(second);
  write(first, a * cosine - b * sine);
  write(second, b * cosine + a * sine);
}

// As memory lies: heads outside, although every head reads the angles anew, which are in the first cache.
template <class T>
void rotate(const cpu::RotaryTokens<T>& tokens) {
  const int64_t half = tokens.head_dim / 2, whole = half - half % kWidth, heads = tokens.heads;
  const FloatV sign = broadcast(tokens.sign);
  const Part part{half - whole};
  for (int64_t t = 0; t < tokens.tokens; ++t) {
    const float *cosine = tokens.cosine + t * half, *sine = tokens.sine + t * half;
    T* head = tokens.x + t * tokens.token_stride;
    for (int64_t h = 0; h < heads; ++h, head += tokens.head_stride) {
      for (int64_t i = 0; i < whole; i += kWidth) {
        rotate_vector(head + i, head + half + i, load(cosine + i), sign * load(sine + i), Whole{},
                      [](T* p, FloatV v) { store_narrow(p, v); });
      }
      if (whole == half) continue;
      rotate_vector(head + whole, head + half + whole, part(cosine + whole), sign * part(sine + whole), part,
                    [part](T* p, FloatV v) { store_part(p, part.count, v); });
    }
  }
}

}  // namespace

template <class T>
void add_rotary(VectorLoops<T>& loops) {
  loops.rotate = rotate<T>;
}

template void add_rotary(VectorLoops<float>&);
template void add_rotary(VectorLoops<bfloat16>&);

}  // namespace longspan::LS_CPU_LEVEL
