#include "launcher/stop_signal.h"

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <ctime>

#include "launcher/exit_status.h"

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
  ::raise(signal_number);
}

const char* last_words_of_all = "";

std::atomic<void (*)()> last_action{nullptr};

void end(int) {
  if (void (*action)() = last_action) action();
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, last_words_of_all, strlen(last_words_of_all));
  _exit(kExitInterrupted);
}

void install(void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  for (const int signal_number : {SIGINT, SIGTERM, SIGUSR1}) sigaction(signal_number, &action, nullptr);
}

}  // namespace

void install_stop_signals() { install(on_signal); }

void install_end_signals(const char* last_words) {
  last_words_of_all = last_words;
  install(end);
}

void before_end_by_signal(void (*action)()) { last_action = action; }

bool stop_requested() { return requested; }

}  // namespace longspan
