// Barriers: of the block, of some of its warps (named), of copies (mbarrier), of a cluster.
#pragma once

#include "core/kernels/cuda/ptx/device.h"

namespace longspan::LS_CUDA {

// All threads of the block that have not exited.
LS_DEVICE void sync_block(LS_LINE) {
  LS_PTX(__syncthreads();)
  LS_EMULATED(simt::named_barrier(0, -1, simt::Arrival::kArriveAndWait, line);)
}
// `num_threads` in all, those that only arrive included; whole warps. Barrier 0 is sync_block's.
LS_DEVICE void sync_named(int id, int num_threads, LS_LINE) {
  LS_PTX(asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(num_threads) : "memory");)
  LS_EMULATED(simt::named_barrier(id, num_threads, simt::Arrival::kArriveAndWait, line);)
}
LS_DEVICE void arrive_named(int id, int num_threads, LS_LINE) {
  LS_PTX(asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(num_threads) : "memory");)
  LS_EMULATED(simt::named_barrier(id, num_threads, simt::Arrival::kArrive, line);)
}

// An mbarrier is 8 bytes of shared memory. A phase ends after `count` arrivals and all expected bytes; a wait for parity p
// passes when a phase of parity p has ended, so a fresh one lets waits for parity 1 pass.
LS_DEVICE void mbarrier_init(uint32_t mbarrier, uint32_t count, [[maybe_unused]] const char* name = "", LS_LINE) {
  LS_PTX(asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(mbarrier), "r"(count) : "memory");)
  LS_EMULATED(simt::mbarrier_init(mbarrier, count, name, line);)
}
// After mbarrier_init, before a barrier that shows it to other threads: for copies and other blocks.
LS_DEVICE void fence_mbarrier_init(LS_LINE) {
  LS_PTX(asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");)
  LS_EMULATED(simt::fence_mbarrier_init(line);)
}
LS_DEVICE void mbarrier_arrive(uint32_t mbarrier, LS_LINE) {
  LS_PTX(asm volatile("mbarrier.arrive.release.cta.shared::cta.b64 _, [%0];" ::"r"(mbarrier) : "memory");)
  LS_EMULATED(simt::mbarrier_arrive(mbarrier, 0, line);)
}
// At an address of another block of the cluster (cluster_address).
LS_DEVICE void mbarrier_arrive_remote(uint32_t mbarrier, LS_LINE) {
  LS_PTX(asm volatile("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(mbarrier) : "memory");)
  LS_EMULATED(simt::mbarrier_arrive(mbarrier, 0, line);)
}
LS_DEVICE void mbarrier_arrive_expect(uint32_t mbarrier, uint32_t num_bytes, LS_LINE) {
  LS_PTX(asm volatile("mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 _, [%0], %1;" ::"r"(mbarrier), "r"(num_bytes)
                      : "memory");)
  LS_EMULATED(simt::mbarrier_arrive(mbarrier, num_bytes, line);)
}
// May return false for no reason.
LS_DEVICE bool mbarrier_try_wait(uint32_t mbarrier, uint32_t parity, LS_LINE) {
  LS_PTX(uint32_t passed;
         asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                      : "=r"(passed)
                      : "r"(mbarrier), "r"(parity)
                      : "memory");
         return passed != 0;)
  LS_EMULATED(return simt::mbarrier_try_wait(mbarrier, parity, false, line);)
}
LS_DEVICE void mbarrier_wait(uint32_t mbarrier, uint32_t parity, LS_LINE) {
  LS_PTX(while (!mbarrier_try_wait(mbarrier, parity)){})
  LS_EMULATED(while (!simt::mbarrier_try_wait(mbarrier, parity, true, line)){})
}
// What this thread wrote to shared memory becomes visible to copies and to wgmma.
LS_DEVICE void fence_for_copies(LS_LINE) {
  LS_PTX(asm volatile("fence.proxy.async.shared::cta;" ::: "memory");)
  LS_EMULATED(simt::fence_for_copies(line);)
}

LS_DEVICE uint32_t cluster_rank() {
  LS_PTX(uint32_t rank; asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank)); return rank;)
  LS_EMULATED(return static_cast<uint32_t>(simt::current->block->rank);)
}
// The same place in the shared memory of another block of the cluster.
LS_DEVICE uint32_t cluster_address(uint32_t address, uint32_t rank) {
  LS_PTX(uint32_t there; asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
         return there;)
  LS_EMULATED(return (address & simt::kSharedOffsetMask) | (rank + 1) << 24;)
}
LS_DEVICE void cluster_arrive(LS_LINE) {
  LS_PTX(asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");)
  LS_EMULATED(simt::cluster_arrive(line);)
}
LS_DEVICE void cluster_wait(LS_LINE) {
  LS_PTX(asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");)
  LS_EMULATED(simt::cluster_wait(line);)
}

}  // namespace longspan::LS_CUDA
