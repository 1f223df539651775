#include "core/kernels/cpu/vector/exponential.h"
#include "core/kernels/cpu/vector/loops.h"

namespace longspan::LS_CPU_LEVEL {

namespace {

inline float sigmoid(float z) { return 1.0f / (1.0f + exponential(-z)); }

template <class T>
void swiglu(int64_t n, const T* gate, const T* up, T* y) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    const float z = widen(gate[i]);
    y[i] = narrow<T>(z * sigmoid(z) * widen(up[i]));
  }
}

template <class T>
void swiglu_gradient(const cpu::SwigluGradient<T>& g) {
#pragma GCC ivdep
  for (int64_t i = 0; i < g.n; ++i) {
    const float z = widen(g.gate[i]), s = sigmoid(z), dy = widen(g.dy[i]), up = widen(g.up[i]);
    g.dup[i] = narrow<T>(dy * z * s);
    g.dgate[i] = narrow<T>(dy * up * s * (1.0f + z * (1.0f - s)));
  }
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
