#include "core/kernels/cpu/vector_loops.h"

namespace longspan {

namespace portable {
cpu::VectorLoops<float> float_loops();
cpu::VectorLoops<bfloat16> bfloat16_loops();
}  // namespace portable

#if defined(__x86_64__)
namespace avx2 {
cpu::VectorLoops<float> float_loops();
cpu::VectorLoops<bfloat16> bfloat16_loops();
}  // namespace avx2
namespace avx512 {
cpu::VectorLoops<float> float_loops();
cpu::VectorLoops<bfloat16> bfloat16_loops();
}  // namespace avx512
namespace avx512_bf16 {
cpu::VectorLoops<float> float_loops();
cpu::VectorLoops<bfloat16> bfloat16_loops();
}  // namespace avx512_bf16
#else  // no such levels: detect_cpu_level never gives them
namespace avx2 = portable;
namespace avx512 = portable;
namespace avx512_bf16 = portable;
#endif

namespace cpu {

template <>
const VectorLoops<float>& vector_loops(CpuLevel level) {
  // each made only when asked for: making it already runs the level's instructions
  static const VectorLoops<float> portable_loops = portable::float_loops();
  if (level == CpuLevel::kPortable) return portable_loops;
  if (level == CpuLevel::kAvx2) {
    static const VectorLoops<float> loops = avx2::float_loops();
    return loops;
  }
  if (level == CpuLevel::kAvx512) {
    static const VectorLoops<float> loops = avx512::float_loops();
    return loops;
  }
  static const VectorLoops<float> loops = avx512_bf16::float_loops();
  return loops;
}

template <>
const VectorLoops<bfloat16>& vector_loops(CpuLevel level) {
  static const VectorLoops<bfloat16> portable_loops = portable::bfloat16_loops();
  if (level == CpuLevel::kPortable) return portable_loops;
  if (level == CpuLevel::kAvx2) {
    static const VectorLoops<bfloat16> loops = avx2::bfloat16_loops();
    return loops;
  }
  if (level == CpuLevel::kAvx512) {
    static const VectorLoops<bfloat16> loops = avx512::bfloat16_loops();
    return loops;
  }
  static const VectorLoops<bfloat16> loops = avx512_bf16::bfloat16_loops();
  return loops;
}

}  // namespace cpu

}  // namespace longspan
