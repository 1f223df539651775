#include "tests/support/simt/global_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <unordered_map>

#include "core/base/error.h"
#include "tests/support/simt/host_access.h"
#include "tests/support/simt/mutation.h"
#include "tests/support/simt/scheduler.h"

namespace longspan::simt {

namespace {

constexpr size_t kPage = 4096;
// Of one word; beyond, one of them is forgotten at random, so that a race with it may go unseen under some seeds.
constexpr size_t kMaxReaders = 24;

struct Toucher {
  BlockId block = 0;
  uint32_t thread = kNobody, at = 0;
};

struct GlobalWord {
  uint64_t launch = 0;
  Toucher writer;
  bool atomic_write = false;
  Toucher reader;  // other than atomic ones, as those below
  std::vector<Toucher> readers;  // that are not ordered with each other
  std::vector<Toucher> atomic_readers;
};

struct Allocation {
  size_t num_bytes = 0;
  std::byte* mapping = nullptr;
  size_t mapped_bytes = 0;
  HostAccess host = HostAccess::kAllowed;
  int num_open = 0;  // launches and copies that touch it now; with none, and no access of the host, it is inaccessible
  std::vector<GlobalWord> words;  // made at the first checked access
  size_t unit = 0;                // bytes of one: the smallest that was accessed
};

// All emulated launches of a process see one memory; ranks as threads may launch at the same time.
struct Memory {
  std::mutex mutex;
  std::map<uintptr_t, Allocation> allocations;
};
Memory& memory() {
  static Memory all;
  return all;
}

struct Published {
  std::unordered_map<BlockId, Clock> clocks;
};

struct LaunchState {
  bool check_races = false;
  uint64_t launch = 0;
  std::unordered_map<uintptr_t, Published> published;  // by the address of an atomic
  uintptr_t first = 1, last = 0;                       // of the allocation that was looked up last
  Allocation* allocation = nullptr;
  std::vector<Allocation*> open;  // by this launch
};
thread_local LaunchState launch_state;
std::atomic<uint64_t> num_launches{0};  // of the process, so that no launch takes another's accesses for its own

void protect(const Allocation& allocation, int protection) {
  if (mprotect(allocation.mapping, allocation.mapped_bytes - kPage, protection) != 0)
    raise(ErrorKind::kResource, "emulated device memory of {} bytes cannot be opened or closed", allocation.num_bytes);
}

// With the mutex held.
void open(Allocation& allocation) {
  if (allocation.host == HostAccess::kRefused && allocation.num_open++ == 0) protect(allocation, PROT_READ | PROT_WRITE);
}
void close(Allocation& allocation) {
  if (allocation.host == HostAccess::kRefused && --allocation.num_open == 0) protect(allocation, PROT_NONE);
}

// Null where the bytes are not in one allocation.
Allocation* containing(uintptr_t address, size_t num_bytes) {
  auto it = memory().allocations.upper_bound(address);
  if (it == memory().allocations.begin()) return nullptr;
  --it;
  return address + num_bytes > it->first + it->second.num_bytes ? nullptr : &it->second;
}

Allocation* find(uintptr_t address, size_t num_bytes) {
  LaunchState& state = launch_state;
  if (state.allocation && address >= state.first && address + num_bytes <= state.last) return state.allocation;
  const std::lock_guard lock(memory().mutex);
  auto it = memory().allocations.upper_bound(address);
  if (it == memory().allocations.begin()) return nullptr;
  --it;
  if (address + num_bytes > it->first + it->second.num_bytes) return nullptr;
  state.first = it->first;
  state.last = it->first + it->second.num_bytes;
  state.allocation = &it->second;
  if (std::find(state.open.begin(), state.open.end(), state.allocation) == state.open.end()) {
    open(*state.allocation);
    state.open.push_back(state.allocation);
  }
  return state.allocation;
}

Allocation& expect_inside(const void* pointer, size_t num_bytes, size_t alignment) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  if (address % alignment) fault("access of {} bytes at {}, which is not aligned to {}", num_bytes, pointer, alignment);
  Allocation* allocation = find(address, num_bytes);
  if (!allocation) fault("access of {} bytes at {}, outside of every allocation of global memory", num_bytes, pointer);
  return *allocation;
}

bool knows(const Thread& thread, const Toucher& toucher) {
  if (toucher.thread == kNobody) return true;
  if (toucher.block != thread.block->id) return thread.clock.of_other(toucher.block, toucher.thread) >= toucher.at;
  return toucher.thread == thread.id || thread.clock[toucher.thread] >= toucher.at;
}

void expect_known(const Thread& thread, const Toucher& toucher, const char* what, const char* other, uintptr_t address) {
  if (knows(thread, toucher)) return;
  fault("race: {} of global address {:#x} not ordered after the {} by thread {} of block {}", what, address, other,
        toucher.thread, toucher.block);
}

void remember(std::vector<Toucher>& readers, const Toucher& reader) {
  for (Toucher& known : readers) {
    if (known.thread == reader.thread && known.block == reader.block) {
      known.at = reader.at;
      return;
    }
  }
  if (readers.size() < kMaxReaders) readers.push_back(reader);
  else readers[random() % kMaxReaders] = reader;
}

void check_word(GlobalWord& word, uintptr_t address, Access access, bool atomic) {
  const Thread& thread = *current;
  if (word.launch != launch_state.launch) {
    word = GlobalWord{};
    word.launch = launch_state.launch;
  }
  const bool write = access == Access::kWrite;
  const char* what = write ? (atomic ? "atomic write" : "write") : (atomic ? "atomic read" : "read");
  if (!(atomic && word.atomic_write)) expect_known(thread, word.writer, what, "write", address);
  if (write) {
    expect_known(thread, word.reader, what, "read", address);
    for (const Toucher& reader : word.readers) expect_known(thread, reader, what, "read", address);
    if (!atomic)
      for (const Toucher& reader : word.atomic_readers) expect_known(thread, reader, what, "atomic read", address);
  }
  const Toucher me{thread.block->id, thread.id, thread.clock[thread.id]};
  if (!write && atomic) return remember(word.atomic_readers, me);
  if (!write && word.readers.empty() && knows(thread, word.reader)) {  // of reads that are ordered the last says it all
    word.reader = me;
    return;
  }
  if (!write) {
    if (word.readers.empty()) word.readers.push_back(word.reader);
    return remember(word.readers, me);
  }
  word.writer = me;
  word.atomic_write = atomic;
  if (atomic) return;
  word.reader = Toucher{};
  word.readers.clear();
  word.atomic_readers.clear();
}

// Shadows for no more than num_bytes each, a power of two.
void expect_unit(Allocation& allocation, size_t num_bytes) {
  const size_t unit = std::max<size_t>(num_bytes, kWordBytes), last = allocation.unit;
  if (last != 0 && last <= unit) return;
  std::vector<GlobalWord> words((allocation.num_bytes + unit - 1) / unit);
  for (size_t w = 0; last != 0 && w < words.size(); ++w) words[w] = allocation.words[w * unit / last];
  allocation.words = std::move(words);
  allocation.unit = unit;
}

void check_words(Allocation& allocation, uintptr_t address, size_t num_bytes, Access access, bool atomic) {
  expect_unit(allocation, num_bytes);
  const size_t offset = address - launch_state.first, unit = allocation.unit;
  for (size_t w = offset / unit; w * unit < offset + num_bytes; ++w)
    check_word(allocation.words[w], launch_state.first + w * unit, access, atomic);
}

void publish(Published& published, const Clock& clock) { published.clocks[current->block->id].join(clock); }

void learn(const Published& published, Clock& into) {
  for (const auto& [block, clock] : published.clocks) into.join_across(current->block->id, block, clock);
}

// Before the value is read or changed.
void touch_atomically(const void* address, size_t num_bytes, Access access, Order order) {
  Allocation& allocation = expect_inside(address, num_bytes, num_bytes);
  if (!launch_state.check_races) return;
  Thread& thread = *current;
  const auto place = reinterpret_cast<uintptr_t>(address);
  Published& published = launch_state.published[place];
  if (order == Order::kAcquire) learn(published, thread.clock);
  check_words(allocation, place, num_bytes, access, true);
  learn(published, thread.seen);  // what a later fence makes known
  if (access == Access::kRead) return;
  publish(published, order == Order::kRelease ? thread.clock : thread.fence);
  if (order == Order::kRelease) thread.clock.advance(thread.id);
}

}  // namespace

void* allocate_global(size_t num_bytes, HostAccess host) {
  // Ends at the guard page; what is not a multiple of 16 leaves less than that before it.
  const size_t rounded = (num_bytes + 15) / 16 * 16, pages = (rounded + kPage - 1) / kPage * kPage + kPage;
  void* mapping = mmap(nullptr, pages + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) raise(ErrorKind::kResource, "no {} bytes of emulated device memory", num_bytes);
  auto* first = static_cast<std::byte*>(mapping);
  mprotect(first + pages, kPage, PROT_NONE);
  // Memory resources promise 64 bytes.
  std::byte* pointer = first + (pages - rounded) / 64 * 64;
  std::memset(pointer, 0xff, rounded);
  const std::lock_guard lock(memory().mutex);
  Allocation& allocation = memory().allocations[reinterpret_cast<uintptr_t>(pointer)];
  allocation.num_bytes = num_bytes;
  allocation.mapping = first;
  allocation.mapped_bytes = pages + kPage;
  allocation.host = host;
  if (host == HostAccess::kRefused) {
    name_refused_accesses();
    protect(allocation, PROT_NONE);
  }
  return pointer;
}

bool is_global(const void* address) {
  const std::lock_guard lock(memory().mutex);
  return containing(reinterpret_cast<uintptr_t>(address), 1) != nullptr;
}

OpenToHost::OpenToHost(std::initializer_list<const void*> addresses) {
  const std::lock_guard lock(memory().mutex);
  for (const void* address : addresses) {
    const auto place = reinterpret_cast<uintptr_t>(address);
    Allocation* allocation = containing(place, 1);
    if (!allocation) continue;
    open(*allocation);
    opened_.push_back(place);
  }
}

OpenToHost::~OpenToHost() {
  const std::lock_guard lock(memory().mutex);
  for (const uintptr_t place : opened_) close(*containing(place, 1));
}

void free_global(void* pointer) {
  const std::lock_guard lock(memory().mutex);
  const auto it = memory().allocations.find(reinterpret_cast<uintptr_t>(pointer));
  munmap(it->second.mapping, it->second.mapped_bytes);
  memory().allocations.erase(it);
}

void* GlobalMemory::do_allocate(size_t num_bytes, Stream&, MemoryTag) { return allocate_global(num_bytes, host_); }
void GlobalMemory::do_deallocate(void* pointer, size_t, Stream&, MemoryTag) noexcept { free_global(pointer); }

GlobalAccesses::GlobalAccesses(bool check_races) {
  launch_state = LaunchState{};
  launch_state.check_races = check_races;
  launch_state.launch = ++num_launches;
}
GlobalAccesses::~GlobalAccesses() {
  {
    const std::lock_guard lock(memory().mutex);
    for (Allocation* allocation : launch_state.open) close(*allocation);
  }
  launch_state = LaunchState{};
}

void expect_global(const void* address, size_t num_bytes, size_t alignment) {
  expect_inside(address, num_bytes, alignment);
}

void touch_global(const void* address, size_t num_bytes, Access access) {
  Allocation& allocation = expect_inside(address, num_bytes, num_bytes);
  if (launch_state.check_races)
    check_words(allocation, reinterpret_cast<uintptr_t>(address), num_bytes, access, false);
}

uint32_t load_acquire(const uint32_t* from, int line) {
  begin_instruction("ld.acquire", line);
  yield();  // who waits for a flag lets others set it
  touch_atomically(from, sizeof *from, Access::kRead, Order::kAcquire);
  return *from;
}

uint32_t add_atomically(uint32_t* to, uint32_t value, Order order, int line) {
  if (order == Order::kRelease && LS_DROPPED("red.release", line)) order = Order::kRelaxed;
  begin_instruction("atom.add", line);
  touch_atomically(to, sizeof *to, Access::kWrite, order);
  const uint32_t before = *to;
  *to += value;
  return before;
}

void fence_global(int line) {
  if (LS_DROPPED("fence.acq_rel", line)) return;
  begin_instruction("fence.acq_rel", line);
  if (!launch_state.check_races) return;
  Thread& thread = *current;
  thread.clock.join(thread.seen);
  thread.seen.clear();
  thread.fence = thread.clock;
  thread.clock.advance(thread.id);
}

}  // namespace longspan::simt
