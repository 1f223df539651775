// Atomics on global memory, visible to the whole device: what orders one block after another.
#pragma once

#include "core/kernels/cuda/ptx/device.h"

namespace longspan::LS_CUDA {

// Reads what a release wrote, and all that came before it.
LS_DEVICE uint32_t load_acquire(const uint32_t* from, LS_LINE) {
  LS_PTX(uint32_t value; asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
         return value;)
  LS_EMULATED(return simt::load_acquire(from, line);)
}
// Adds, after all that this thread has done.
LS_DEVICE void add_release(uint32_t* to, uint32_t value, LS_LINE) {
  LS_PTX(asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(to), "r"(value) : "memory");)
  LS_EMULATED(simt::add_atomically(to, value, simt::Order::kRelease, line);)
}
// Returns what was there; orders nothing.
LS_DEVICE uint32_t add_relaxed(uint32_t* to, uint32_t value, LS_LINE) {
  LS_PTX(uint32_t before;
         asm volatile("atom.relaxed.gpu.global.add.u32 %0, [%1], %2;" : "=r"(before) : "l"(to), "r"(value) : "memory");
         return before;)
  LS_EMULATED(return simt::add_atomically(to, value, simt::Order::kRelaxed, line);)
}
// What this thread did before is seen by whoever sees what it does after.
LS_DEVICE void fence_device(LS_LINE) {
  LS_PTX(asm volatile("fence.acq_rel.gpu;" ::: "memory");)
  LS_EMULATED(simt::fence_global(line);)
}

}  // namespace longspan::LS_CUDA
