#include "tests/support/simt/host_access.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <mutex>

#include "tests/support/simt/global_memory.h"

namespace longspan::simt {

namespace {

struct sigaction before;

// A thread that faults does not hold the lock that is_global takes: nothing under it touches device memory.
void on_fault(int, siginfo_t* info, void*) {
  if (is_global(info->si_addr)) {
    char text[160];
    const auto end = fmt::format_to_n(text, sizeof text, "the host touched {}, which is memory of the emulated device\n",
                                      info->si_addr);
    if (write(STDERR_FILENO, text, std::min(end.size, sizeof text)) < 0) _exit(1);
  }
  sigaction(SIGSEGV, &before, nullptr);  // the instruction faults again, and this time as it would have
}

}  // namespace

void name_refused_accesses() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &action, &before);
  });
}

}  // namespace longspan::simt
