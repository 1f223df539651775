#include "core/kernels/cpu/vector/elements.h"

namespace longspan::LS_CPU_LEVEL {

namespace {

// The same pair of every head, so that its angle is read once.
template <class T, class Read, class Store>
void rotate_heads(const cpu::RotaryTokens<T>& tokens, T* first, FloatV cosine, FloatV sine, Read read, Store write) {
  const int64_t half = tokens.head_dim / 2, heads = tokens.heads, stride = tokens.head_stride;
  for (int64_t h = 0; h < heads; ++h, first += stride) {
    const FloatV a = read(first), b = read(first + half);
    write(first, a * cosine - b * sine);
    write(first + half, b * cosine + a * sine);
  }
}

template <class T>
void rotate(const cpu::RotaryTokens<T>& tokens) {
  const int64_t half = tokens.head_dim / 2;
  const float sign = tokens.sign;
  for (int64_t t = 0; t < tokens.tokens; ++t) {
    const float *cosine = tokens.cosine + t * half, *sine = tokens.sine + t * half;
    T* token = tokens.x + t * tokens.token_stride;
    int64_t i = 0;
    for (; i + kWidth <= half; i += kWidth) {
      rotate_heads(tokens, token + i, load(cosine + i), sign * load(sine + i), Whole{},
                   [](T* p, FloatV v) { store_narrow(p, v); });
    }
    if (i == half) continue;
    const Part part{half - i};
    rotate_heads(tokens, token + i, part(cosine + i), sign * part(sine + i), part,
                 [part](T* p, FloatV v) { store_part(p, part.count, v); });
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
