// Copies of boxes of tensors by the copy unit (TMA, sm_90). A box lands row by row, its 16-byte pieces permuted by bits of the
// shared address, and completes its bytes on an mbarrier; what is outside of the tensor is zero and counts all the same.
#pragma once

#include "core/kernels/cuda/ptx/device.h"

#if defined(__CUDACC__)
#include <cuda.h>
#endif

namespace longspan::LS_CUDA {

// Bits 4 to 6 of the address ^= bits 7 to 9 (128 bytes), 4 to 5 ^= 7 to 8 (64), 4 ^= 7 (32): boxes are aligned to 1024 bytes.
enum class Swizzle { kNone, k32Bytes, k64Bytes, k128Bytes };

// A kernel's parameter, `const __grid_constant__`.
#if defined(__CUDACC__)
using TensorMap = CUtensorMap;
#else
using TensorMap = simt::TensorMap;
#endif

// `to` aligned to 128 bytes; coordinates of the first element, innermost first.
LS_DEVICE void load_box_2d(uint32_t to, const TensorMap* map, uint32_t mbarrier, int x, int y, LS_LINE) {
  LS_PTX(asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, "
                      "%3}], [%4];" ::"r"(to),
                      "l"(map), "r"(x), "r"(y), "r"(mbarrier)
                      : "memory");)
  LS_EMULATED(const int first[] = {x, y}; simt::load_box(to, map, mbarrier, 2, first, 0, line);)
}
LS_DEVICE void load_box_3d(uint32_t to, const TensorMap* map, uint32_t mbarrier, int x, int y, int z, LS_LINE) {
  LS_PTX(asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, "
                      "%3, %4}], [%5];" ::"r"(to),
                      "l"(map), "r"(x), "r"(y), "r"(z), "r"(mbarrier)
                      : "memory");)
  LS_EMULATED(const int first[] = {x, y, z}; simt::load_box(to, map, mbarrier, 3, first, 0, line);)
}
LS_DEVICE void load_box_4d(uint32_t to, const TensorMap* map, uint32_t mbarrier, int x, int y, int z, int w, LS_LINE) {
  LS_PTX(asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, "
                      "%3, %4, %5}], [%6];" ::"r"(to),
                      "l"(map), "r"(x), "r"(y), "r"(z), "r"(w), "r"(mbarrier)
                      : "memory");)
  LS_EMULATED(const int first[] = {x, y, z, w}; simt::load_box(to, map, mbarrier, 4, first, 0, line);)
}
// To the same place in each block of the cluster whose bit is set, and their mbarriers.
LS_DEVICE void load_box_2d_multicast(uint32_t to, const TensorMap* map, uint32_t mbarrier, int x, int y, uint16_t blocks,
                                  LS_LINE) {
  LS_PTX(asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::"
                      "cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(to),
                      "l"(map), "r"(x), "r"(y), "r"(mbarrier), "h"(blocks)
                      : "memory");)
  LS_EMULATED(const int first[] = {x, y}; simt::load_box(to, map, mbarrier, 2, first, blocks, line);)
}
LS_DEVICE void store_box_2d(const TensorMap* map, uint32_t from, int x, int y, LS_LINE) {
  LS_PTX(asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%1, %2}], [%3];" ::"l"(map),
                      "r"(x), "r"(y), "r"(from)
                      : "memory");)
  LS_EMULATED(const int first[] = {x, y}; simt::store_box(map, from, 2, first, line);)
}
LS_DEVICE void commit_bulk(LS_LINE) {
  LS_PTX(asm volatile("cp.async.bulk.commit_group;" ::: "memory");)
  LS_EMULATED(simt::commit_bulk(line);)
}
// Until at most that many groups of this thread's stores are under way.
template <int kGroupsLeft>
LS_DEVICE void wait_bulk(LS_LINE) {
  LS_PTX(asm volatile("cp.async.bulk.wait_group %0;" ::"n"(kGroupsLeft) : "memory");)
  LS_EMULATED(simt::wait_bulk(kGroupsLeft, line);)
}

}  // namespace longspan::LS_CUDA
