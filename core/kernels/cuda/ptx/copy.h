// cp.async: copies of 16 bytes from global to shared memory that the thread does not wait for (sm_80).
#pragma once

#include "core/kernels/cuda/ptx/device.h"

namespace longspan::LS_CUDA {

// `source_bytes` (0 to 16) are read, the rest are zeros. Others see the bytes after wait_copies here and a barrier.
LS_DEVICE void copy_async(uint32_t to, const void* from, int source_bytes = 16, LS_LINE) {
  LS_PTX(asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(__cvta_generic_to_global(from)),
                      "r"(source_bytes)
                      : "memory");)
  LS_EMULATED(simt::copy_async(to, from, static_cast<uint32_t>(source_bytes), line);)
}
LS_DEVICE void commit_copies(LS_LINE) {
  LS_PTX(asm volatile("cp.async.commit_group;" ::: "memory");)
  LS_EMULATED(simt::commit_copies(line);)
}
// Until at most that many of this thread's groups are under way.
template <int kGroupsLeft>
LS_DEVICE void wait_copies(LS_LINE) {
  LS_PTX(asm volatile("cp.async.wait_group %0;" ::"n"(kGroupsLeft) : "memory");)
  LS_EMULATED(simt::wait_copies(kGroupsLeft, line);)
}

}  // namespace longspan::LS_CUDA
