// wgmma: asynchronous products of a warpgroup, four warps (sm_90a). d [64, n] += a [64, 16] b [16, n], bfloat16, sums in fp32.
// Registers of d are laid out as the sums of mma.sync, 16 rows a warp; a in registers as its A fragments.
//
// An accumulator is a whole array with one owner, and neither copied nor read while it is in flight. warpgroup_fence comes
// before the first product after registers were used, and names them, as warpgroup_wait names what it makes readable: that pins
// them for the compiler. Each product after a wait loop needs a fence of its own, or ptxas serialises all of them.
#pragma once

#include "core/kernels/cuda/ptx/bulk_copy.h"
#include "core/kernels/cuda/ptx/device.h"

namespace longspan::LS_CUDA {

enum class Major { kK, kMn };  // along which elements of an operand lie side by side

// The 64-bit matrix descriptor (PTX ISA, "Matrix Descriptor Format"): address, leading and stride offset in units of 16 bytes,
// swizzle in the top bits. The address advances by plain addition.
LS_DEVICE uint64_t matrix_descriptor(uint32_t address, uint32_t leading_bytes, uint32_t stride_bytes, Swizzle swizzle) {
  const auto field = [](uint32_t bytes) { return static_cast<uint64_t>(bytes >> 4 & 0x3fff); };
  const uint64_t layout = swizzle == Swizzle::kNone ? 0 : 4 - static_cast<uint64_t>(swizzle);
  return field(address) | field(leading_bytes) << 16 | field(stride_bytes) << 32 | layout << 62;
}

#if defined(__CUDA_ARCH__)
template <int n, int kTransposeA, int kTransposeB>
struct SharedProduct;
template <int n, int kTransposeB>
struct RegisterProduct;
#include "core/kernels/cuda/ptx/warpgroup_shapes.inc"

template <int kCount>
LS_DEVICE void pin(float (&registers)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(registers[i])::"memory");
}
template <int kCount>
LS_DEVICE void pin(uint32_t (&fragments)[kCount][4]) {
#pragma unroll
  for (int i = 0; i < 4 * kCount; ++i) asm volatile("" : "+r"(fragments[i / 4][i % 4])::"memory");
}
#endif

// Both operands in shared memory. `accumulate` false: the product replaces what was in d.
template <int n, Major kMajorA, Major kMajorB>
LS_DEVICE void warpgroup_multiply(float (&d)[n / 2], uint64_t a, uint64_t b, bool accumulate, LS_LINE) {
  LS_PTX((SharedProduct<n, kMajorA == Major::kMn, kMajorB == Major::kMn>::run(d, a, b, accumulate));)
  LS_EMULATED(simt::WarpgroupOperands operands; operands.n = n; operands.descriptor_a = a; operands.descriptor_b = b;
              operands.major_a = static_cast<simt::MajorDim>(kMajorA);
              operands.major_b = static_cast<simt::MajorDim>(kMajorB); operands.accumulate = accumulate;
              simt::warpgroup_multiply(d, operands, line);)
}
// a in registers.
template <int n, Major kMajorB>
LS_DEVICE void warpgroup_multiply(float (&d)[n / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate, LS_LINE) {
  LS_PTX((RegisterProduct<n, kMajorB == Major::kMn>::run(d, a, b, accumulate));)
  LS_EMULATED(simt::WarpgroupOperands operands; operands.n = n; operands.a = a; operands.descriptor_b = b;
              operands.major_b = static_cast<simt::MajorDim>(kMajorB); operands.accumulate = accumulate;
              simt::warpgroup_multiply(d, operands, line);)
}
template <class... Registers>
LS_DEVICE void warpgroup_fence([[maybe_unused]] Registers&... registers) {
  LS_PTX((pin(registers), ...); asm volatile("wgmma.fence.sync.aligned;" ::: "memory");)
  LS_EMULATED(simt::warpgroup_fence(0);)
}
LS_DEVICE void warpgroup_commit(LS_LINE) {
  LS_PTX(asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");)
  LS_EMULATED(simt::warpgroup_commit(line);)
}
template <int kGroupsLeft, class... Registers>
LS_DEVICE void warpgroup_wait([[maybe_unused]] Registers&... registers) {
  LS_PTX(asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kGroupsLeft) : "memory"); (pin(registers), ...);)
  LS_EMULATED(simt::warpgroup_wait(kGroupsLeft, 0);)
}

}  // namespace longspan::LS_CUDA
