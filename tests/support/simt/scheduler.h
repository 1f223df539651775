// The scheduler of emulated launches: which thread goes on, and when what is asynchronous happens. Both by a seed, so that a
// run that failed can be run again.
//
// Threads are fibers of the calling thread. Blocks run in random order, `coresident` clusters at a time. Threads may be
// interrupted at any emulated instruction; what is asynchronous happens some time later, some of it only when nothing else
// can run. What a kernel does wrong ends the launch with a KernelFault that says who, where and why.
#pragma once

#include <fmt/core.h>

#include <functional>
#include <stdexcept>
#include <string>

#include "core/kernels/cuda/ptx/launch_shape.h"
#include "tests/support/simt/machine.h"

namespace longspan::simt {

enum class Policy { kBySeed, kUniform, kPriorities, kRoundRobin };

struct Options {
  uint64_t seed = 1;
  Policy policy = Policy::kBySeed;
  // The four warps of a warpgroup finish a wgmma each for itself. The architecture does not say; CUTLASS relies on the contrary.
  bool strict_warpgroups = false;
  int coresident = 1;
  uint64_t max_steps = 50'000'000;
  int interrupt_every = 60;     // emulated instructions, about
  bool check_races = true;      // of shared and global memory, by happens-before: found under every schedule
  bool delay_copies = true;     // else asynchronous operations happen at once
};
Options& options();  // of the calling thread's launches

class KernelFault : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct RunStatistics {
  uint64_t steps = 0, switches = 0;
};
const RunStatistics& last_run();

// Runs body once per thread of the launch. Raises KernelFault.
void run(const LaunchShape& shape, const std::function<void()>& body);

// For instructions -----------------------------------------------------------------------------------------------------

extern thread_local Thread* current;  // null: the scheduler itself runs
const Dim3& grid_size();
unsigned block_size();
uint64_t random();
bool running();

[[noreturn]] void fault_with(const std::string& message);
template <class... Args>
[[noreturn]] void fault(fmt::format_string<Args...> format, Args&&... args) {
  fault_with(fmt::format(format, std::forward<Args>(args)...));
}

// Each instruction starts with this: says what it is, and lets others go on now and then.
void begin_instruction(const char* operation, int line);
void yield();
// Returns once somebody has called wake.
void block_on(Waiting waiting, uint32_t address = 0, uint32_t parity = 0);
void wake(Thread& thread);
void wake_all(std::vector<Thread*>& threads);  // and empties the list
void happen_later(std::function<void()> what);

// Vector clocks: what the thread did so far is known to whoever joins `into`.
void release(Thread& thread, Clock& into);
void acquire(Thread& thread, const Clock& from);

std::string describe(const Thread& thread);
std::string describe_deadlock(const std::vector<std::unique_ptr<Block>>& blocks);

}  // namespace longspan::simt
