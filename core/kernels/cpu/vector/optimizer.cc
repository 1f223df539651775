#include "core/kernels/cpu/vector/loops.h"

namespace longspan::LS_CPU_LEVEL {

namespace {

template <class T>
void adamw(const cpu::AdamWElements<T>& e) {
  const cpu::AdamWElements<T> o = e;  // a copy that the stores below cannot alias
#pragma GCC ivdep
  for (int64_t i = 0; i < o.n; ++i) {
    const float g = o.gradient[i] * o.gradient_scale;
    const float m = o.beta1 * o.first_moment[i] + o.one_minus_beta1 * g;
    const float v = o.beta2 * o.second_moment[i] + o.one_minus_beta2 * g * g;
    const float step =
        o.decay * o.master[i] + o.rate * m / (__builtin_sqrtf(v) * o.root_correction + o.epsilon);
    const float w = o.master[i] - step;
    o.first_moment[i] = m;
    o.second_moment[i] = v;
    o.master[i] = w;
    o.value[i] = narrow<T>(w);
  }
}

}  // namespace

template <class T>
void add_optimizer(VectorLoops<T>& loops) {
  loops.adamw = adamw<T>;
}

template void add_optimizer(VectorLoops<float>&);
template void add_optimizer(VectorLoops<bfloat16>&);

}  // namespace longspan::LS_CPU_LEVEL
