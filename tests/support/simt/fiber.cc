#include "tests/support/simt/fiber.h"

#include <sys/mman.h>

#include "core/base/error.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

// The registers a called function must keep (System V psABI of x86-64, section 3.2.1; AAPCS64, section 6.1).
#if defined(__x86_64__)
asm(R"(
.text
.p2align 4
.globl longspan_switch_fiber
.type longspan_switch_fiber,@function
longspan_switch_fiber:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size longspan_switch_fiber, .-longspan_switch_fiber
)");
#elif defined(__aarch64__)
asm(R"(
.text
.p2align 4
.globl longspan_switch_fiber
.type longspan_switch_fiber,@function
longspan_switch_fiber:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size longspan_switch_fiber, .-longspan_switch_fiber
)");
#else
#error "switching fibers is written for x86-64 and 64-bit Arm"
#endif

namespace longspan::simt {

namespace {

constexpr size_t kGuardBytes = 4096;

// What longspan_switch_fiber expects to find on a stack that it has not left itself.
void* prepare(std::byte* end, void (*entry)()) {
  auto** top = reinterpret_cast<void**>(end - 64);
#if defined(__x86_64__)
  *--top = nullptr;  // where entry would return to: the stack is aligned as after a call
  *--top = reinterpret_cast<void*>(entry);
  return top - 6;
#else
  top -= 20;
  top[11] = reinterpret_cast<void*>(entry);  // x30
  return top;
#endif
}

}  // namespace

FiberStacks::~FiberStacks() {
  for (std::byte* stack : stacks_) munmap(stack, stack_bytes_);
}

void* FiberStacks::start(void (*entry)()) {
  if (used_ == stacks_.size()) {
    void* memory =
        mmap(nullptr, stack_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    check(memory != MAP_FAILED, "no memory for the stack of fiber {}", used_);
    mprotect(memory, kGuardBytes, PROT_NONE);
    stacks_.push_back(static_cast<std::byte*>(memory));
  }
  std::byte* stack = stacks_[used_++];
#if defined(__SANITIZE_ADDRESS__)
  // Fibers of a launch that failed leave their frames behind.
  __asan_unpoison_memory_region(stack + kGuardBytes, stack_bytes_ - kGuardBytes);
#endif
  return prepare(stack + stack_bytes_, entry);
}

}  // namespace longspan::simt
