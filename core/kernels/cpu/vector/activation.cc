#include "core/kernels/cpu/vector/elements.h"

namespace longspan::LS_CPU_LEVEL {

namespace {

// 1 / d within 1 unit in the last place or two, for d in [1, 2^126].
inline FloatV reciprocal(FloatV d) {
#if defined(__AVX512F__)
  const auto rough = (FloatV)_mm512_maskz_rcp14_ps(0xffff, (__m512)d);  // and a step of Newton's: a division takes far longer
  return rough + rough * (1.0f - d * rough);
#else
  return 1.0f / d;
#endif
}

// 1 / (1 + e^-z); below z = -86 it stays.
template <class T>
FloatV bounded_sigmoid(FloatV z);
template <>
inline FloatV bounded_sigmoid<float>(FloatV z) {
  return reciprocal(1.0f + exponential(minimum(broadcast(87.0f), -z)));
}
// Rounding leaves nothing of the error that the argument of exp2 has, 1e-6.
template <>
inline FloatV bounded_sigmoid<bfloat16>(FloatV z) {
#if defined(__AVX512F__)
  // e^-z = 2^(k / 16) * 2^f with a whole k and |f| <= 1/32. 2^f is a polynomial (relative error 4.3e-7). 2^(k / 16) comes from
  // a table of its bits for the low four bits of k, less what these add when all of k is added at the exponent.
  alignas(64) static constexpr uint32_t kRoots[kWidth] = {
      0x3f800000, 0x3f7daac3, 0x3f7b95c2, 0x3f79c3d3, 0x3f7837f0, 0x3f76f532, 0x3f75fed7, 0x3f75583f,
      0x3f7504f3, 0x3f7508a4, 0x3f75672a, 0x3f76248c, 0x3f7744fd, 0x3f78ccdf, 0x3f7ac0c7, 0x3f7d257d};
  constexpr float kMinusLog2e = -1.44269504f, kRound = 0x1.8p19f;
  const auto bounded = (FloatV)_mm512_maskz_range_ps(0xffff, (__m512)z, (__m512)broadcast(86.0f), 2);  // the sign stays
  const FloatV shifted = bounded * kMinusLog2e + kRound, f = bounded * kMinusLog2e - (shifted - kRound);
  const auto roots = (BitsV)_mm512_maskz_permutexvar_epi32(0xffff, (__m512i)shifted, _mm512_load_si512(kRoots));
  const auto power = (FloatV)(((BitsV)shifted << 19) + roots);
  const FloatV rest = (f * 0.24022643f + 0.69318772f) * f + 1.0f;
  return reciprocal(power * rest + 1.0f);
#else
  return reciprocal(1.0f + exp2(minimum(broadcast(125.0f), z * -1.44269504f)));
#endif
}

// Below z = -86 nothing tells it from 0, unless a large number is multiplied by it: z itself.
template <class T>
FloatV sigmoid(FloatV z) {
  return select(z < -86.0f, FloatV{}, bounded_sigmoid<T>(z));
}

template <class T>
void swiglu(int64_t n, const T* gates, const T* ups, T* y, cpu::Stores stores) {
  assign(n, y, stores, [gates, ups](int64_t i, auto from) {
    const FloatV gate = from(gates + i);
    return gate * sigmoid<T>(gate) * from(ups + i);
  });
  fence();
}

struct GatedGradient {
  FloatV first, second;  // by the gate, by the other factor
};
template <class T>
GatedGradient gated_gradient(FloatV dy, FloatV gate, FloatV up) {
  const FloatV s = sigmoid<T>(gate), ds = dy * s;  // dy * gate may overflow where s is 0
  return {ds * up * (1.0f + gate * (1.0f - s)), ds * gate};
}

template <class T>
void swiglu_gradient(const cpu::SwigluGradient<T>& g) {
  const T *dy = g.dy, *gate = g.gate, *up = g.up;
  assign_two(g.n, g.dgate, g.dup, g.stores, [dy, gate, up](int64_t i, auto from) {
    return gated_gradient<T>(from(dy + i), from(gate + i), from(up + i));
  });
  fence();
}

}  // namespace

template <class T>
void add_activation(VectorLoops<T>& loops) {
  loops.swiglu = swiglu<T>;
  loops.swiglu_gradient = swiglu_gradient<T>;
}

template void add_activation(VectorLoops<float>&);
template void add_activation(VectorLoops<bfloat16>&);

}  // namespace longspan::LS_CPU_LEVEL
