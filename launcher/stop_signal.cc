#include "launcher/stop_signal.h"

#include <atomic>
#include <csignal>
#include <ctime>

namespace longspan {
namespace {

std::atomic<bool> requested{false};
std::atomic<long> hard_request_seconds{-1};
static_assert(std::atomic<long>::is_always_lock_free);  // a signal handler may take no lock

void on_signal(int signal_number) {
  requested = true;
  if (signal_number == SIGUSR1) return;
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  long unset = -1;
  if (hard_request_seconds.compare_exchange_strong(unset, now.tv_sec)) return;
  if (now.tv_sec - unset < 1) return;
  signal(signal_number, SIG_DFL);
  raise(signal_number);
}

}  // namespace

void install_stop_signals() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  for (const int signal_number : {SIGINT, SIGTERM, SIGUSR1}) sigaction(signal_number, &action, nullptr);
}

bool stop_requested() { return requested; }

}  // namespace longspan
