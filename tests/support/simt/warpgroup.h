// wgmma: products of a warpgroup, asynchronous, with operands that 64-bit descriptors name in shared memory; and setmaxnreg.
//
// From its issue until the wait that covers it, an accumulator holds a NaN of its own; whoever touches it in between is
// found by that. Descriptors and swizzles are those of the PTX ISA, section "Matrix-Descriptor" and "Shared Memory Matrix
// Layout".
#pragma once

#include <cstdint>

namespace longspan::simt {

enum class MajorDim : uint8_t { kK, kMn };  // along which elements of an operand lie side by side

struct WarpgroupOperands {
  int n = 0;                    // columns of the accumulator
  const uint32_t* a = nullptr;  // registers, or null: descriptor_a
  uint64_t descriptor_a = 0, descriptor_b = 0;
  MajorDim major_a = MajorDim::kK, major_b = MajorDim::kK;
  bool accumulate = false;      // else the product replaces what was there
};

// d [64, n], n / 2 registers a thread, (+)= a [64, 16] b [16, n]; d stays in flight.
void warpgroup_multiply(float* d, const WarpgroupOperands& operands, int line);
void warpgroup_fence(int line);
void warpgroup_commit(int line);
void warpgroup_wait(int groups_left, int line);

// More registers for each thread of the warpgroup's warp, or fewer: waits until the block has that many free.
void set_max_registers(int count, bool increase, int line);

}  // namespace longspan::simt
