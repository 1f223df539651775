#include "launcher/stop_signal.h"

#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <iostream>
#include <optional>
#include <string>
#include <thread>

#include "launcher/exit_status.h"

namespace longspan {
namespace {

using Clock = std::chrono::steady_clock;

std::atomic<bool> requested{false};
std::atomic<void (*)()> last_action{nullptr};

sigset_t signals_of_interest() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal_number : {SIGINT, SIGTERM, SIGUSR1}) sigaddset(&set, signal_number);
  return set;
}

[[noreturn]] void end_by(int signal_number) {
  signal(signal_number, SIG_DFL);
  const sigset_t set = signals_of_interest();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  ::raise(signal_number);
  _exit(kExitInterrupted);  // not reached
}

// Calls react(signal) for each that arrives.
template <class React>
void install(React react) {
  const sigset_t set = signals_of_interest();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::thread([set, react]() mutable {
    for (int signal_number = 0; sigwait(&set, &signal_number) == 0;) react(signal_number);
  }).detach();
}

}  // namespace

void install_stop_signals() {
  install([first = std::optional<Clock::time_point>()](int signal_number) mutable {
    requested = true;
    if (signal_number == SIGUSR1) return;
    const auto now = Clock::now();
    if (first && now - *first >= std::chrono::seconds(1)) end_by(signal_number);
    if (!first) first = now;
  });
}

void install_end_signals(const char* last_words) {
  install([words = std::string(last_words)](int) {
    if (void (*action)() = last_action) action();
    std::cerr << words << std::flush;
    _exit(kExitInterrupted);
  });
}

void before_end_by_signal(void (*action)()) { last_action = action; }

bool stop_requested() { return requested; }

}  // namespace longspan
