// What the lanes of a warp do together. Masks are explicit, and every lane of a mask must come.
#pragma once

#include <bit>

#include "core/kernels/cuda/ptx/device.h"

namespace longspan::LS_CUDA {

// What lane `source` of the mask gives, of 4 bytes.
template <class T>
LS_DEVICE T shuffle(uint32_t mask, T value, int source, LS_LINE) {
  static_assert(sizeof(T) == 4);
  LS_PTX(return __shfl_sync(mask, value, source);)
  LS_EMULATED(return std::bit_cast<T>(simt::shuffle(mask, std::bit_cast<uint32_t>(value), source, line));)
}
template <class T>
LS_DEVICE T shuffle_xor(uint32_t mask, T value, int lane_mask, LS_LINE) {
  static_assert(sizeof(T) == 4);
  LS_PTX(return __shfl_xor_sync(mask, value, lane_mask);)
  LS_EMULATED(return std::bit_cast<T>(simt::shuffle(mask, std::bit_cast<uint32_t>(value), lane_index() ^ lane_mask, line));)
}
LS_DEVICE uint32_t ballot(uint32_t mask, bool predicate, LS_LINE) {
  LS_PTX(return __ballot_sync(mask, predicate);)
  LS_EMULATED(return simt::ballot(mask, predicate, line);)
}
// True in one lane of a full warp; which one is not said.
LS_DEVICE bool elect_one(LS_LINE) {
  LS_PTX(uint32_t elected;
         asm volatile("{\n.reg .pred p;\nelect.sync _|p, 0xffffffff;\nselp.u32 %0, 1, 0, p;\n}" : "=r"(elected));
         return elected != 0;)
  LS_EMULATED(return simt::elect(kAllLanes, line);)
}
LS_DEVICE void sync_warp(LS_LINE) {
  LS_PTX(__syncwarp();)
  LS_EMULATED(simt::sync_warp(kAllLanes, line);)
}

// Sum over the lanes of a full warp, the same in all and in one order.
LS_DEVICE float sum_over_warp(float value, LS_LINE) {
  for (int step = kWarpSize / 2; step > 0; step /= 2) value += shuffle_xor(kAllLanes, value, step, line);
  return value;
}
LS_DEVICE float max_over_warp(float value, LS_LINE) {
  for (int step = kWarpSize / 2; step > 0; step /= 2) {
    const float other = shuffle_xor(kAllLanes, value, step, line);
    value = other > value ? other : value;
  }
  return value;
}

template <int kCount>
LS_DEVICE void raise_registers(LS_LINE) {
  LS_PTX(asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));)
  LS_EMULATED(simt::set_max_registers(kCount, true, line);)
}
template <int kCount>
LS_DEVICE void lower_registers(LS_LINE) {
  LS_PTX(asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));)
  LS_EMULATED(simt::set_max_registers(kCount, false, line);)
}

}  // namespace longspan::LS_CUDA
