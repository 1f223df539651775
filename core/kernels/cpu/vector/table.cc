#include "core/kernels/cpu/vector/loops.h"

namespace longspan::LS_CPU_LEVEL {

namespace {

template <class T>
VectorLoops<T> make_table() {
  VectorLoops<T> loops{};
  add_activation(loops);
  add_elementwise(loops);
  add_loss(loops);
  add_normalization(loops);
  add_optimizer(loops);
  add_rotary(loops);
  return loops;
}

}  // namespace

VectorLoops<float> float_loops() {
  return make_table<float>();
}
VectorLoops<bfloat16> bfloat16_loops() {
  return make_table<bfloat16>();
}

}  // namespace longspan::LS_CPU_LEVEL
