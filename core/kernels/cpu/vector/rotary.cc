#include "core/kernels/cpu/vector/loops.h"

namespace longspan::LS_CPU_LEVEL {

namespace {

template <class T>
void rotate(const cpu::RotaryTokens<T>& tokens) {
  const int64_t half = tokens.head_dim / 2;
  for (int64_t t = 0; t < tokens.tokens; ++t) {
    const float *cosine = tokens.cosine + t * half, *sine = tokens.sine + t * half;
    for (int64_t h = 0; h < tokens.heads; ++h) {
      T *first = tokens.x + t * tokens.token_stride + h * tokens.head_stride, *second = first + half;
#pragma GCC ivdep
      for (int64_t i = 0; i < half; ++i) {
        const float a = widen(first[i]), b = widen(second[i]), s = tokens.sign * sine[i];
        first[i] = narrow<T>(a * cosine[i] - b * s);
        second[i] = narrow<T>(b * cosine[i] + a * s);
      }
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
