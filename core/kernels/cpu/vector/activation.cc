#include "core/kernels/cpu/vector/elements.h"

namespace longspan::LS_CPU_LEVEL {

namespace {

inline FloatV sigmoid(FloatV z) {
  return 1.0f / (1.0f + exponential(-z));
}

inline FloatV gated(FloatV gate, FloatV up) {
  return gate * sigmoid(gate) * up;
}

template <class T>
void swiglu(int64_t n, const T* gate, const T* up, T* y) {
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) store_narrow(y + i, gated(load(gate + i), load(up + i)));
  const int64_t rest = n - i;
  if (rest > 0) store_part(y + i, rest, gated(load_part(gate + i, rest), load_part(up + i, rest)));
}

struct GatedGradient {
  FloatV gate, up;
};
inline GatedGradient gated_gradient(FloatV dy, FloatV gate, FloatV up) {
  const FloatV s = sigmoid(gate);
  return {dy * up * s * (1.0f + gate * (1.0f - s)), dy * gate * s};
}

template <class T>
void swiglu_gradient(const cpu::SwigluGradient<T>& g) {
  const cpu::SwigluGradient<T> o = g;  // a copy that the stores below cannot alias
  int64_t i = 0;
  for (; i + kWidth <= o.n; i += kWidth) {
    const GatedGradient d = gated_gradient(load(o.dy + i), load(o.gate + i), load(o.up + i));
    store_narrow(o.dgate + i, d.gate);
    store_narrow(o.dup + i, d.up);
  }
  const int64_t rest = o.n - i;
  if (rest == 0) return;
  const GatedGradient d =
      gated_gradient(load_part(o.dy + i, rest), load_part(o.gate + i, rest), load_part(o.up + i, rest));
  store_part(o.dgate + i, rest, d.gate);
  store_part(o.dup + i, rest, d.up);
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
