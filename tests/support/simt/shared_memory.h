// Accesses to shared memory, each checked: bounds, alignment, copies in flight, and whether it is ordered after all that
// conflict with it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tests/support/simt/machine.h"

namespace longspan::simt {

enum class SharedUse { kRead, kWrite, kUnchecked };

// Where `num_bytes` at a shared address are, of this block or of another of its cluster. Faults unless the current thread may
// use them so.
std::byte* shared_bytes(uint32_t address, uint32_t num_bytes, SharedUse use);

// Accesses of asynchronous units. `granule` counts from kSharedBase.
void note_thread_access(Block& block, Thread& thread, uint32_t offset, uint32_t num_bytes, SharedUse use);
void note_copy_in(Block& block, Thread& thread, uint32_t granule, uint32_t clock_entry, uint32_t at);
void expect_readable_by_warpgroup(Block& block, const Warp& warp, uint32_t granule, const char* operand);
// Makes what the thread wrote visible to asynchronous reads (fence.proxy.async).
void fence_for_copies(int line);

inline uint32_t granule_of(uint32_t address) { return ((address & kSharedOffsetMask) - kSharedBase) / kGranuleBytes; }
inline uint32_t address_of(uint32_t granule) { return granule * kGranuleBytes + kSharedBase; }

}  // namespace longspan::simt
