// Fibers: the threads of an emulated launch, switched by hand in some tens of nanoseconds.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

namespace longspan::simt {

// Saves the caller's state where `*from` points and goes on at `to`, a state saved before. Written in assembly.
extern "C" void longspan_switch_fiber(void** from, void* to);

// Stacks with a page below them that may not be touched; given out anew for each wave of blocks.
class FiberStacks {
 public:
  explicit FiberStacks(size_t stack_bytes) : stack_bytes_(stack_bytes) {}
  ~FiberStacks();
  FiberStacks(const FiberStacks&) = delete;
  FiberStacks& operator=(const FiberStacks&) = delete;

  void recycle() { used_ = 0; }
  // A state to switch to, which calls `entry` on a stack of its own. entry never returns.
  void* start(void (*entry)());

 private:
  size_t stack_bytes_, used_ = 0;
  std::vector<std::byte*> stacks_;
};

}  // namespace longspan::simt
