// The state of an emulated launch: threads, warps, warpgroups, blocks and clusters, what they wait for, and the shadow of
// shared memory that knows who touched what. The scheduler and the instructions work on it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tests/support/simt/clock.h"
#include "tests/support/simt/warpgroup.h"

namespace longspan::simt {

constexpr int kWarpSize = 32, kWarpsPerWarpgroup = 4, kNumNamedBarriers = 16, kMaxMbarriers = 64;
constexpr uint32_t kAllLanes = 0xffffffffu;
// Shared addresses start here, so that 0 is none; bits 24 and up name the block of a cluster, plus one.
constexpr uint32_t kSharedBase = 1024, kSharedOffsetMask = 0xffffff;
constexpr uint32_t kNobody = ~0u;
constexpr uint32_t kGranuleBytes = 16;  // what asynchronous copies and fences are tracked by
constexpr uint32_t kWordBytes = 2;      // what ordinary accesses are: neighbouring bf16 belong to two threads

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
};

enum class Waiting : uint8_t {
  kNot,
  kForWarp,
  kForNamedBarrier,
  kForMbarrier,
  kForWarpgroup,
  kForCluster,
  kForRegisters,
  kForBulkCopies,
  kExited
};

struct Block;
struct Thread;
struct Warp;

// One cp.async.
struct AsyncCopy {
  Thread* thread;
  const void* from;
  uint32_t offset, source_bytes;  // where to in shared memory, from kSharedBase on
  bool zeros;  // what is not read is filled
  bool done;
};
using CopyGroup = std::vector<AsyncCopy*>;  // of one thread, that belong together

struct Thread {
  void* stack = nullptr;  // where it was left
  Waiting waiting = Waiting::kNot;
  unsigned id = 0;
  int lane = 0;
  Warp* warp = nullptr;
  Block* block = nullptr;
  const char* operation = "";  // the last emulated instruction, and where it stands
  int line = 0;
  uint32_t wait_address = 0, wait_parity = 0;
  uint64_t cluster_phase = 0;
  Clock clock;
  Clock fence, seen;  // of __threadfence: what relaxed atomics after it publish, what those before it saw
  std::vector<uint32_t> dirty;  // granules it wrote and has not fenced for asynchronous reads
  CopyGroup open_copies;
  std::vector<CopyGroup> copy_groups;
  std::shared_ptr<int> open_bulk;  // stores under way
  std::vector<std::shared_ptr<int>> bulk_groups;
};

// An instruction that the lanes of a mask execute together.
struct Collective {
  uint32_t mask = 0, arrived = 0;
  const char* operation = nullptr;  // none: the slot is free
  void* arguments[kWarpSize] = {};
};

struct Warp {
  int id = 0;
  Block* block = nullptr;
  uint32_t ready = 0, live = 0;
  std::deque<Collective> collectives;
  uint64_t priority = 0;
  Thread* threads[kWarpSize] = {};
};

struct Granule {
  uint8_t copies_in = 0;   // a copy into it is in flight
  uint8_t reads_out = 0;   // asynchronous reads of it under way
  uint32_t dirty_by = kNobody;  // who wrote it without a fence for asynchronous reads
  uint32_t copied_by = kNobody, copied_at = 0;  // entry of the clock (an mbarrier's) after which the last copy is there
  std::vector<std::pair<uint32_t, uint64_t>> warpgroup_reads;  // (warpgroup, number of its last wgmma that reads here)
  uint32_t unit = kGranuleBytes / kWordBytes;  // words that were always touched together; the first stands for all
};

// Who touched it. Of reads that are ordered the last says it all (Flanagan and Freund 2009); others are kept by thread.
struct Word {
  uint32_t writer = kNobody, written_at = 0, reader = kNobody, read_at = 0;
  int32_t unordered_reads = -1;  // of Block
};

struct NamedBarrier {
  int expected = 0, arrived = 0;  // expected < 0: all threads that have not exited
  std::vector<Thread*> waiting;
  Clock clock;
};

struct Mbarrier {
  uint32_t count = 0, pending = 0;
  int64_t bytes = 0;
  uint64_t phase = 0;
  std::vector<Thread*> waiting;
  std::string name;
  bool visible = false;  // to copies: its initialisation was fenced
  Thread* initialiser = nullptr;
  uint32_t initialised_at = 0, entry = 0;  // of the clock
  Clock arriving, completed;
};

struct Cluster {
  std::vector<Block*> blocks;
  int arrived = 0;
  uint64_t phase = 0;
  std::vector<Thread*> waiting;
  std::unordered_map<BlockId, Clock> arriving, completed;
};

// One warp's share of an accumulator that wgmma is working on: where it is, and what will be in it.
struct Accumulator {
  float* registers[kWarpSize];
  int n = 0;
  std::vector<float> values;  // [16, n]
  uint64_t last_use = 0;
};

struct WarpgroupProduct {
  WarpgroupOperands operands;
  unsigned issued = 0, done = 0, complete = 0;  // by warp
  bool retired = false;
  uint32_t a[kWarpsPerWarpgroup * kWarpSize][4];
  Accumulator* accumulators[kWarpsPerWarpgroup] = {};
  std::vector<uint32_t> chunks_a, chunks_b;  // shared addresses of the 16-byte pieces it reads
};

struct Warpgroup {
  struct Wait {
    uint64_t target;
    uint32_t clocks[kWarpSize];
  };
  std::deque<std::unique_ptr<WarpgroupProduct>> products;
  uint64_t base = 0;  // products[i] has number base + i
  uint64_t issued[kWarpsPerWarpgroup] = {}, waited[kWarpsPerWarpgroup] = {};
  std::deque<uint64_t> groups[kWarpsPerWarpgroup];
  bool fenced[kWarpsPerWarpgroup] = {};
  std::vector<Wait> waits[kWarpsPerWarpgroup];
  std::vector<std::unique_ptr<Accumulator>> accumulators[kWarpsPerWarpgroup];
  int registers[kWarpsPerWarpgroup] = {};  // a thread
};

struct Block {
  BlockId id = 0;
  Dim3 index;
  int rank = 0;  // in its cluster
  std::shared_ptr<Cluster> cluster;
  std::vector<std::byte> shared_memory;
  std::byte* shared = nullptr;
  uint32_t shared_bytes = 0;
  std::vector<Granule> granules;
  std::vector<Word> words;
  std::vector<std::vector<uint32_t>> unordered_reads;  // by thread: its clock, or 0
  std::vector<int32_t> free_unordered_reads;
  std::deque<AsyncCopy> async_copies;
  uint32_t num_threads = 0, num_mbarriers = 0;
  std::vector<std::unique_ptr<Thread>> threads;
  std::vector<std::unique_ptr<Warp>> warps;
  std::deque<Warpgroup> warpgroups;
  NamedBarrier named_barriers[kNumNamedBarriers];
  std::unordered_map<uint32_t, Mbarrier> mbarriers;  // by shared offset
  int live = 0;
  int free_registers = 0;
  int copies_under_way = 0;
};

}  // namespace longspan::simt
