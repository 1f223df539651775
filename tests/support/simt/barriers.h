// Barriers of a block and of a cluster: named barriers, mbarriers with the bytes they wait for, the cluster's barrier.
#pragma once

#include <cstdint>

#include "tests/support/simt/machine.h"

namespace longspan::simt {

enum class Arrival { kArrive, kArriveAndWait };

// num_threads < 0: all threads of the block that have not exited.
void named_barrier(int id, int num_threads, Arrival arrival, int line);
// __syncthreads does not wait for threads that have exited; called when one has.
void pass_barrier_of_those_left(Block& block);

void mbarrier_init(uint32_t address, uint32_t count, const char* name, int line);
void fence_mbarrier_init(int line);
// expected_bytes more are to come before the phase ends.
void mbarrier_arrive(uint32_t address, uint32_t expected_bytes, int line);
// Whether the phase of this parity has ended. With `blocking`, sleeps first; it may return false all the same.
bool mbarrier_try_wait(uint32_t address, uint32_t parity, bool blocking, int line);

void cluster_arrive(int line);
void cluster_wait(int line);

// For copies.
Block& block_of(uint32_t shared_address);
Mbarrier& mbarrier_at(Block& block, uint32_t offset, const char* what);
void complete_bytes(Block& block, uint32_t offset, uint32_t num_bytes);

}  // namespace longspan::simt
