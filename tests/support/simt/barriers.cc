#include "tests/support/simt/barriers.h"

#include <cstring>

#include "tests/support/simt/mutation.h"
#include "tests/support/simt/scheduler.h"
#include "tests/support/simt/shared_memory.h"

namespace longspan::simt {

namespace {

constexpr uint32_t kMostBytes = (1u << 20) - 1;  // that an mbarrier can wait for, and arrivals, too

void pass(NamedBarrier& barrier, Thread* last) {
  if (last) acquire(*last, barrier.clock);
  for (Thread* thread : barrier.waiting) acquire(*thread, barrier.clock);
  std::vector<Thread*> woken = std::move(barrier.waiting);
  barrier = NamedBarrier{};
  wake_all(woken);
}

// What lies in shared memory where an mbarrier is, so that stores over it are noticed.
uint64_t signature(uint32_t offset) { return 0x6d62617200000000ull | offset; }

void end_phase_if_complete(Mbarrier& barrier) {
  if (barrier.pending > 0 || barrier.bytes != 0) return;
  ++barrier.phase;
  barrier.pending = barrier.count;
  barrier.completed = std::move(barrier.arriving);
  barrier.arriving.clear();
  wake_all(barrier.waiting);
}

}  // namespace

void named_barrier(int id, int num_threads, Arrival arrival, int line) {
  const char* operation = arrival == Arrival::kArrive ? "bar.arrive" : "bar.sync";
  if (LS_DROPPED(operation, line)) return;
  begin_instruction(operation, line);
  Thread& thread = *current;
  if (id < 0 || id >= kNumNamedBarriers) fault("there is no named barrier {}", id);
  if (num_threads >= 0 && (num_threads == 0 || num_threads % kWarpSize != 0))
    fault("{} threads of named barrier {} are not whole warps", num_threads, id);
  NamedBarrier& barrier = thread.block->named_barriers[id];
  if (barrier.arrived == 0) barrier.expected = num_threads;
  if (barrier.expected != num_threads)
    fault("threads disagree about named barrier {}: {} or {} of them", id, barrier.expected, num_threads);
  ++barrier.arrived;
  release(thread, barrier.clock);
  const bool waits = arrival == Arrival::kArriveAndWait;
  if (barrier.arrived == (num_threads < 0 ? thread.block->live : num_threads)) return pass(barrier, waits ? &thread : nullptr);
  if (!waits) return;
  barrier.waiting.push_back(&thread);
  block_on(Waiting::kForNamedBarrier, static_cast<uint32_t>(id));
}

void pass_barrier_of_those_left(Block& block) {
  NamedBarrier& barrier = block.named_barriers[0];
  if (barrier.expected < 0 && barrier.arrived > 0 && barrier.arrived == block.live) pass(barrier, nullptr);
}

Block& block_of(uint32_t shared_address) {
  const uint32_t rank = shared_address >> 24;
  if (rank == 0) return *current->block;
  const auto& blocks = current->block->cluster->blocks;
  if (rank > blocks.size()) fault("shared address {:#x} is of no block of the cluster", shared_address);
  return *blocks[rank - 1];
}

Mbarrier& mbarrier_at(Block& block, uint32_t offset, const char* what) {
  const auto it = block.mbarriers.find(offset);
  if (it == block.mbarriers.end()) fault("{} of an mbarrier at {:#x} that is not initialised", what, offset);
  Mbarrier& barrier = it->second;
  uint64_t there = 0;
  std::memcpy(&there, block.shared + (offset - kSharedBase), sizeof there);
  if (there != signature(offset)) fault("mbarrier {}@{:#x} was overwritten", barrier.name, offset);
  const Thread* maker = barrier.initialiser;
  if (options().check_races && current && current->block == &block && maker != current &&
      current->clock[maker->id] < barrier.initialised_at)
    fault("race: {} of mbarrier {}@{:#x} not ordered after its initialisation", what, barrier.name, offset);
  return barrier;
}

void mbarrier_init(uint32_t address, uint32_t count, const char* name, int line) {
  begin_instruction("mbarrier.init", line);
  Block& block = *current->block;
  const uint32_t offset = address & kSharedOffsetMask;
  if (count < 1 || count > kMostBytes) fault("an mbarrier for {} arrivals", count);
  if (block.num_mbarriers == kMaxMbarriers) fault("more than {} mbarriers", kMaxMbarriers);
  const uint64_t mark = signature(offset);
  std::memcpy(shared_bytes(address, sizeof mark, SharedUse::kUnchecked), &mark, sizeof mark);
  Mbarrier& barrier = block.mbarriers[offset] = Mbarrier{};
  barrier.entry = block.num_threads + block.num_mbarriers++;
  barrier.count = barrier.pending = count;
  barrier.name = name;
  barrier.initialiser = current;
  if (options().check_races) barrier.initialised_at = current->clock[current->id];
}

void fence_mbarrier_init(int line) {
  if (LS_DROPPED("fence.mbarrier_init", line)) return;
  begin_instruction("fence.mbarrier_init", line);
  for (auto& [offset, barrier] : current->block->mbarriers)
    if (barrier.initialiser == current) barrier.visible = true;
}

void mbarrier_arrive(uint32_t address, uint32_t expected_bytes, int line) {
  if (LS_DROPPED("mbarrier.arrive", line)) return;
  begin_instruction("mbarrier.arrive", line);
  Block& block = block_of(address);
  shared_bytes(address, 8, SharedUse::kUnchecked);
  Mbarrier& barrier = mbarrier_at(block, address & kSharedOffsetMask, "arrival");
  barrier.bytes += expected_bytes;
  if (barrier.bytes > kMostBytes) fault("mbarrier {} cannot wait for {} bytes", barrier.name, barrier.bytes);
  if (barrier.pending == 0) fault("mbarrier {}: more arrivals than its {}", barrier.name, barrier.count);
  if (&block == current->block) release(*current, barrier.arriving);
  --barrier.pending;
  end_phase_if_complete(barrier);
}

bool mbarrier_try_wait(uint32_t address, uint32_t parity, bool blocking, int line) {
  if (LS_DROPPED("mbarrier.try_wait", line)) return true;
  begin_instruction("mbarrier.try_wait", line);
  const uint32_t offset = address & kSharedOffsetMask;
  shared_bytes(address, 8, SharedUse::kUnchecked);
  Mbarrier& barrier = mbarrier_at(*current->block, offset, "wait");
  if ((barrier.phase & 1) != (parity & 1)) {
    acquire(*current, barrier.completed);
    if (options().check_races) current->clock.reach(barrier.entry, static_cast<uint32_t>(barrier.phase));
    return true;
  }
  if (!blocking || random() % 8 == 0) {  // it may give up for no reason
    yield();
    return false;
  }
  barrier.waiting.push_back(current);
  block_on(Waiting::kForMbarrier, offset, parity & 1);
  return false;
}

void complete_bytes(Block& block, uint32_t offset, uint32_t num_bytes) {
  Mbarrier& barrier = mbarrier_at(block, offset, "completion of a copy");
  barrier.bytes -= num_bytes;
  end_phase_if_complete(barrier);
}

void cluster_arrive(int line) {
  if (LS_DROPPED("barrier.cluster.arrive", line)) return;
  begin_instruction("barrier.cluster.arrive", line);
  Cluster& cluster = *current->block->cluster;
  release(*current, cluster.arriving[current->block->id]);
  current->cluster_phase = cluster.phase + 1;
  if (++cluster.arrived < static_cast<int>(cluster.blocks.size() * block_size())) return;
  cluster.arrived = 0;
  ++cluster.phase;
  cluster.completed = std::move(cluster.arriving);
  cluster.arriving.clear();
  wake_all(cluster.waiting);
}

void cluster_wait(int line) {
  if (LS_DROPPED("barrier.cluster.wait", line)) return;
  begin_instruction("barrier.cluster.wait", line);
  Cluster& cluster = *current->block->cluster;
  while (cluster.phase < current->cluster_phase) {
    cluster.waiting.push_back(current);
    block_on(Waiting::kForCluster);
  }
  if (!options().check_races) return;
  for (const auto& [block, clock] : cluster.completed) current->clock.join_across(current->block->id, block, clock);
}

}  // namespace longspan::simt
