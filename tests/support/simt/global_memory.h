// Global memory of the emulated device: a memory resource whose blocks end at a page that may not be touched, and that
// knows of every access of a launch, so that accesses of any two threads that are not ordered are found, between blocks too.
//
// Kernels reach it through load_global, store_global and the atomics of the PTX layer alone. Between blocks only atomics
// order: a release seen by an acquire, or relaxed ones with __threadfence before and after (C++ [atomics.fences]).
#pragma once

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <vector>

#include "core/runtime/memory_resource.h"
#include "tests/support/simt/machine.h"

namespace longspan::simt {

// Whether the host may touch it, as no host may touch a device's memory. Refused, it ends the process with a message that says
// so (host_access.h).
enum class HostAccess { kAllowed, kRefused };

// What it gives is filled with bytes 0xff: NaN in float and bfloat16.
class GlobalMemory final : public MemoryResource {
 public:
  explicit GlobalMemory(HostAccess host = HostAccess::kAllowed) : host_(host) {}

 private:
  HostAccess host_;
  void* do_allocate(size_t num_bytes, Stream& stream, MemoryTag tag) override;
  void do_deallocate(void* pointer, size_t num_bytes, Stream& stream, MemoryTag tag) noexcept override;
};
void* allocate_global(size_t num_bytes, HostAccess host = HostAccess::kAllowed);
void free_global(void* pointer);

bool is_global(const void* address);

// While it lives, the host may touch the allocations that these addresses are in: for what a device does and the emulator does
// on the host. Addresses elsewhere are ignored.
class OpenToHost {
 public:
  explicit OpenToHost(std::initializer_list<const void*> addresses);
  ~OpenToHost();
  OpenToHost(const OpenToHost&) = delete;
  OpenToHost& operator=(const OpenToHost&) = delete;

 private:
  std::vector<uintptr_t> opened_;
};

// While it lives, accesses are remembered; those of an earlier launch are forgotten.
class GlobalAccesses {
 public:
  explicit GlobalAccesses(bool check_races);
  ~GlobalAccesses();
};

enum class Access { kRead, kWrite };
enum class Order { kRelaxed, kAcquire, kRelease };

// By the current thread. Faults unless [address, address + num_bytes) is aligned to num_bytes (at most 16) and inside one
// allocation, and the access is ordered after all that conflict with it.
void touch_global(const void* address, size_t num_bytes, Access access);
uint32_t load_acquire(const uint32_t* from, int line);
// Returns what was there. Dropped as a site of synchronisation, it still adds, but orders nothing.
uint32_t add_atomically(uint32_t* to, uint32_t value, Order order, int line);
void fence_global(int line);  // __threadfence
// For asynchronous copies, which check their bounds when they are issued.
void expect_global(const void* address, size_t num_bytes, size_t alignment);

}  // namespace longspan::simt
