#include "core/kernels/cpu/vector/elements.h"

namespace longspan::LS_CPU_LEVEL {

namespace {

struct Pair {
  FloatV first, second;
};

template <class T>
void rotate(const cpu::RotaryTokens<T>& tokens) {
  const int64_t half = tokens.head_dim / 2, heads = tokens.heads, head_stride = tokens.head_stride;
  const float sign = tokens.sign;
  for (int64_t t = 0; t < tokens.tokens; ++t) {
    const float *cosine = tokens.cosine + t * half, *sine = tokens.sine + t * half;
    T* head = tokens.x + t * tokens.token_stride;
    for (int64_t h = 0; h < heads; ++h, head += head_stride) {
      T *first = head, *second = head + half;
      assign_two(half, first, second, cpu::Stores::kCached, [=](int64_t i, auto from) -> Pair {
        const FloatV a = from(first + i), b = from(second + i), c = from(cosine + i), s = sign * from(sine + i);
        return {a * c - b * s, b * c + a * s};
      });
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
