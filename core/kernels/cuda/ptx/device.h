// One source for two machines: a GPU, and the emulator of tests/support/simt on a CPU.
//
// All PTX stands in this folder, and every function here has two bodies: LS_PTX, the instruction, and LS_EMULATED, which calls
// the emulator that LS_SIMT names. Kernels are written in these functions alone: no asm, no __shared__ variables, no <<<>>>,
// no dereferenced pointers to global memory, no spinning but through the waits here, no reliance on lanes in lock step.
#pragma once

#include <cstdint>

#include "core/kernels/cuda/ptx/namespace.h"

#if defined(__CUDACC__)
#define LS_DEVICE __device__ __forceinline__
#elif defined(LS_SIMT)
#include LS_SIMT
#else
#error "kernels are for nvcc, or for the emulator that LS_SIMT names"
#endif

#if defined(__CUDA_ARCH__)
#define LS_PTX(...) __VA_ARGS__
#define LS_EMULATED(...)
#elif defined(LS_SIMT)
#define LS_PTX(...)
#define LS_EMULATED(...) __VA_ARGS__
#else  // nvcc's pass for the host, which reads the bodies and never runs them
#define LS_PTX(...)
#define LS_EMULATED(...) __builtin_trap();
#endif

// The place in the kernel, for the emulator's messages; a last parameter.
#define LS_LINE [[maybe_unused]] int line = __builtin_LINE()

namespace longspan::LS_CUDA {

constexpr int kWarpSize = 32;
constexpr uint32_t kAllLanes = 0xffffffffu;

LS_DEVICE int thread_index() {
  LS_PTX(return static_cast<int>(threadIdx.x);)
  LS_EMULATED(return static_cast<int>(simt::current->id);)
}
LS_DEVICE int num_threads() {
  LS_PTX(return static_cast<int>(blockDim.x);)
  LS_EMULATED(return static_cast<int>(simt::block_size());)
}
LS_DEVICE int lane_index() { return thread_index() % kWarpSize; }
// The same in all lanes, which the compiler cannot see by itself: without the shuffle it guards every use.
LS_DEVICE int warp_index() {
  LS_PTX(return __shfl_sync(kAllLanes, static_cast<int>(threadIdx.x) / kWarpSize, 0);)
  LS_EMULATED(return static_cast<int>(simt::current->id) / kWarpSize;)
}

struct BlockIndex {
  unsigned x, y, z;
};
LS_DEVICE BlockIndex block_index() {
  LS_PTX(return {blockIdx.x, blockIdx.y, blockIdx.z};)
  LS_EMULATED(const simt::Dim3 index = simt::current->block->index; return {index.x, index.y, index.z};)
}
LS_DEVICE BlockIndex num_blocks() {
  LS_PTX(return {gridDim.x, gridDim.y, gridDim.z};)
  LS_EMULATED(const simt::Dim3 size = simt::grid_size(); return {size.x, size.y, size.z};)
}

}  // namespace longspan::LS_CUDA
